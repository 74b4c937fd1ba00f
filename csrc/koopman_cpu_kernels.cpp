// CPU kernels for one instruction set (BODVCL_ISA). A group of clips, one per
// vector lane, goes through the small algebra together; its features are read and
// written clip by clip, vectorised along the feature dimension.
#include "cpu_kernels.h"
#include "koopman_adjoint.h"
#include "rows.h"

namespace bodvcl {
namespace BODVCL_ISA {
namespace {

constexpr int kLanes = BODVCL_LANES;
using PackClip = Clip<Serial, Pack>;

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// What one thread needs besides the small matrices.
template <class E>
struct Buffers {
  E* rows;         // features of one clip, if they cannot be used in place
  E* static_rows;  // cotangents, likewise
  E* dynamic_rows;
  double* out;   // gradient of the split
  double* coef;  // coefficients of one clip
  const E** pointers;
  Pack* packs;
  int64_t bytes;

  Buffers(const Problem& p, int packs_needed, bool backward, void* base) {
    char* at = static_cast<char*>(base);
    const auto take = [&](int64_t size) {
      char* const here = at;
      at += aligned(size);
      return here;
    };
    const int64_t t = p.frames, w = padded(p.width), q = p.per_frame ? t : 1;
    packs = reinterpret_cast<Pack*>(take(int64_t(packs_needed) * sizeof(Pack)));
    rows = reinterpret_cast<E*>(take(t * w * sizeof(E)));
    static_rows = reinterpret_cast<E*>(take(backward ? q * w * sizeof(E) : 0));
    dynamic_rows = reinterpret_cast<E*>(take(backward ? q * w * sizeof(E) : 0));
    out = reinterpret_cast<double*>(take(backward ? t * w * sizeof(double) : 0));
    coef = reinterpret_cast<double*>(take((t + 2 * q) * t * sizeof(double)));
    pointers = reinterpret_cast<const E**>(take((t + 2 * q) * sizeof(void*)));
    bytes = at - static_cast<char*>(base);
  }
};

int packs_needed(const Problem& p, bool backward) {
  PackClip clip(Serial{}, p);
  return clip.layout(nullptr, backward);
}

bool wide(const Problem& p) { return p.dtype == DType::kDouble; }

int64_t scratch(const Problem& p, bool backward) {
  const int packs = packs_needed(p, backward);
  return wide(p) ? Buffers<double>(p, packs, backward, nullptr).bytes
                 : Buffers<float>(p, packs, backward, nullptr).bytes;
}

const bool* mask_of(const bool* mask, int64_t clip, int frames) {
  return mask ? mask + clip * frames : nullptr;
}

void set_frames(PackClip& c, const bool* mask, int lane) {
  for (int i = 0; i < c.t; ++i) c.frames[i][lane] = mask == nullptr || mask[i] ? 1.0 : 0.0;
}

template <class E>
void forward_group(const Problem& p, const ForwardData& d, int64_t group, void* memory) {
  const Buffers<E> buffers(p, packs_needed(p, false), false, memory);
  PackClip c(Serial{}, p);
  c.layout(buffers.packs, false);
  for (int i = 0; i < c.t * c.t + c.t; ++i) buffers.packs[i] = Pack{};  // gram and frames of unused lanes
  const int64_t first = group * kLanes;
  const int clips = p.clips - first < kLanes ? int(p.clips - first) : kLanes;
  const int t = c.t, n = c.n;
  const double nan = __builtin_nan("");
  bool broken[kLanes] = {};

  double* const gram = buffers.coef;
  for (int l = 0; l < clips; ++l) {
    const bool* const mask = mask_of(d.frame_mask, first + l, t);
    const Rows<E> rows = read_rows(d.features, (first + l) * t, t, p.width, p.dtype, mask, buffers.rows);
    dots(rows, rows, p.width, gram, t, true);
    double energy = 0;
    for (int i = 0; i < t; ++i) energy += gram[i * t + i];
    broken[l] = !(energy <= 1.7976931348623157e308);
    if (broken[l]) continue;
    set_frames(c, mask, l);
    for (int i = 0; i < t; ++i)
      for (int j = 0; j < t; ++j) c.gram[i * t + j][l] = i <= j ? gram[i * t + j] : gram[j * t + i];
  }

  c.forward();

  const int q = c.q, size = saved_size(t, p.smooth);
  for (int l = 0; l < clips; ++l) {
    const int64_t clip = first + l;
    for (int k = 0; k < kLosses; ++k) d.losses[clip * kLosses + k] = broken[l] ? nan : c.losses[k][l];
    for (int k = 0; k < kStats; ++k) d.stats[clip * kStats + k] = broken[l] ? nan : c.stats[k][l];
    if (broken[l]) d.stats[clip * kStats + kStats - 1] = 1.0;
    for (int e = 0; e < c.n2; ++e) d.reduced[clip * c.n2 + e] = broken[l] ? nan : c.reduced[e][l];
    double* s = d.saved + clip * size;
    for (int i = 0; i < t; ++i)
      for (int j = i; j < t; ++j) *s++ = c.gram[i * t + j][l];
    for (int i = 0; i < n; ++i) *s++ = c.lam[i][l];
    for (int e = 0; e < c.n2; ++e) *s++ = c.vectors[e][l];
    if (!p.smooth)
      for (int e = 0; e < c.n2; ++e) *s++ = c.projector[e][l];
    *s++ = c.radius[l];
    *s = broken[l] ? 1.0 : 0.0;

    for (int e = 0; e < q * t; ++e) {
      buffers.coef[e] = broken[l] ? nan : c.static_coef[e][l];
      buffers.coef[q * t + e] = broken[l] ? nan : c.dynamic_coef[e][l];
    }
    const bool* const mask = mask_of(d.frame_mask, clip, t);
    const Rows<E> rows = read_rows(d.features, clip * t, t, p.width, p.dtype, mask, buffers.rows);
    for (int i = 0; i < t; ++i) buffers.pointers[i] = rows.row(i);
    combine(buffers.pointers, t, buffers.coef, 2 * q, p.width, [&](int r, int m, Pack x) {
      void* const to = r < q ? d.fixed : d.dynamic;
      store(to, (clip * q + r % q) * p.width + m, p.width - m, p.dtype, x);
    });
  }
}

template <class E>
void backward_group(const Problem& p, const BackwardData& d, int64_t group, void* memory) {
  const Buffers<E> buffers(p, packs_needed(p, true), true, memory);
  PackClip c(Serial{}, p);
  c.layout(buffers.packs, true);
  const int64_t first = group * kLanes;
  const int clips = p.clips - first < kLanes ? int(p.clips - first) : kLanes;
  const int t = c.t, n = c.n, q = c.q, size = saved_size(t, p.smooth);
  const double nan = __builtin_nan("");
  bool broken[kLanes] = {};
  double incoming[kLanes] = {};
  Pack grads[kLosses] = {};
  c.radius = fill<Pack>(p.xi);
  for (int i = 0; i < t * t; ++i) c.gram[i] = Pack{};
  for (int i = 0; i < t; ++i) c.frames[i] = Pack{};
  for (int i = 0; i < n; ++i) c.lam[i] = Pack{};
  for (int e = 0; e < c.n2; ++e) c.vectors[e] = Pack{};
  if (!p.smooth)
    for (int e = 0; e < c.n2; ++e) c.projector[e] = Pack{};
  for (int e = 0; e < n * q; ++e) c.static_dots[e] = c.dynamic_dots[e] = Pack{};

  const auto grad_rows = [&](const void* data, int64_t clip, E* buffer) {
    const bool* const mask = p.per_frame ? mask_of(d.frame_mask, clip, t) : nullptr;
    return read_rows(data, clip * q, q, p.width, p.dtype, mask, buffer);
  };
  double* const block = buffers.coef;
  for (int l = 0; l < clips; ++l) {
    const int64_t clip = first + l;
    const double* s = d.saved + clip * size;
    broken[l] = s[size - 1] != 0;
    if (broken[l]) continue;
    const bool* const mask = mask_of(d.frame_mask, clip, t);
    set_frames(c, mask, l);
    for (int i = 0; i < t; ++i)
      for (int j = i; j < t; ++j) c.gram[i * t + j][l] = c.gram[j * t + i][l] = *s++;
    for (int i = 0; i < n; ++i) c.lam[i][l] = *s++;
    for (int e = 0; e < c.n2; ++e) c.vectors[e][l] = *s++;
    if (!p.smooth)
      for (int e = 0; e < c.n2; ++e) c.projector[e][l] = *s++;
    c.radius[l] = *s;
    for (int k = 0; k < kLosses; ++k) grads[k][l] = d.grad_losses[clip * kLosses + k];

    Rows<E> future = read_rows(d.features, clip * t, t, p.width, p.dtype, mask, buffers.rows);
    future.p += future.stride;
    future.count = n;
    for (int side = 0; side < 2; ++side) {
      const Rows<E> g = side ? grad_rows(d.grad_dynamic, clip, buffers.dynamic_rows)
                             : grad_rows(d.grad_static, clip, buffers.static_rows);
      Pack* const to = side ? c.dynamic_dots : c.static_dots;
      dots(future, g, p.width, block, q, false);
      for (int e = 0; e < n * q; ++e) to[e][l] = block[e];
      for (int i = 0; i < q; ++i) {
        dot_tile<E, 1, 1>(g.row(i), 0, g.row(i), 0, padded(p.width), block, 1);
        incoming[l] += block[0];
      }
    }
  }

  c.count_frames();
  c.whitened();
  c.weigh();
  bool losses = false;
  for (int k = 0; k < kLosses; ++k) losses = losses || any_of(grads[k] != 0.0);
  if (losses) c.backward_losses(grads);
  c.backward_split();

  const int inputs = t + 2 * q, stride = padded(p.width);
  for (int l = 0; l < clips; ++l) {
    const int64_t clip = first + l;
    if (broken[l]) {
      d.gain[clip] = nan;
      for (int i = 0; i < t; ++i)
        for (int m = 0; m < p.width; m += kLanes)
          store(d.grad_features, (clip * t + i) * p.width + m, p.width - m, p.dtype, fill<Pack>(nan));
      continue;
    }
    const bool* const mask = mask_of(d.frame_mask, clip, t);
    const Rows<E> rows = read_rows(d.features, clip * t, t, p.width, p.dtype, mask, buffers.rows);
    const Rows<E> gs = grad_rows(d.grad_static, clip, buffers.static_rows);
    const Rows<E> gd = grad_rows(d.grad_dynamic, clip, buffers.dynamic_rows);
    for (int i = 0; i < t; ++i) buffers.pointers[i] = rows.row(i);
    for (int i = 0; i < q; ++i) {
      buffers.pointers[t + i] = gs.row(i);
      buffers.pointers[t + q + i] = gd.row(i);
    }
    for (int i = 0; i < t; ++i) {
      double* const coef = buffers.coef + i * inputs;
      for (int j = 0; j < t; ++j) coef[j] = c.split_mix[i * t + j][l];
      for (int j = 0; j < q; ++j) {
        coef[t + j] = c.static_coef[j * t + i][l];
        coef[t + q + j] = c.dynamic_coef[j * t + i][l];
      }
    }
    Pack square{};
    combine(buffers.pointers, inputs, buffers.coef, t, p.width, [&](int r, int m, Pack x) {
      square += x * x;
      std::memcpy(buffers.out + int64_t(r) * stride + m, &x, sizeof x);
    });
    const double gain = gain_of(c.frame_count[l], lane_sum(square), incoming[l]);
    d.gain[clip] = gain;
    const double factor = guard_factor(p, gain);

    for (int e = 0; e < t * t; ++e) buffers.coef[e] = losses ? c.loss_mix[e][l] : 0.0;
    combine(buffers.pointers, losses ? t : 0, buffers.coef, t, p.width, [&](int r, int m, Pack x) {
      x += factor * load(buffers.out + int64_t(r) * stride + m);
      store(d.grad_features, (clip * t + r) * p.width + m, p.width - m, p.dtype, x);
    });
  }
}

void forward(const Problem& p, const ForwardData& d, int64_t group, void* memory) {
  wide(p) ? forward_group<double>(p, d, group, memory) : forward_group<float>(p, d, group, memory);
}

void backward(const Problem& p, const BackwardData& d, int64_t group, void* memory) {
  wide(p) ? backward_group<double>(p, d, group, memory) : backward_group<float>(p, d, group, memory);
}

}  // namespace
}  // namespace BODVCL_ISA

#define BODVCL_JOIN(a, b) a##b
#define BODVCL_TABLE(isa) BODVCL_JOIN(kernels_, isa)
#define BODVCL_TEXT(x) #x
#define BODVCL_NAME(x) BODVCL_TEXT(x)
const CpuKernels BODVCL_TABLE(BODVCL_ISA) = {
    BODVCL_NAME(BODVCL_ISA), BODVCL_LANES, BODVCL_ISA::scratch, BODVCL_ISA::forward, BODVCL_ISA::backward};

}  // namespace bodvcl
