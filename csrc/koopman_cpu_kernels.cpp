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
  double* out;     // gradient of the split
  double* scaled;  // of the spread: the frames of the clips of a group, see scaled_rows
  const double** scaled_pointers;
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
    const int64_t t = p.frames, w = padded(p.width), q = p.per_frame ? t : 1, streams = stream_rows(p);
    packs = reinterpret_cast<Pack*>(take(int64_t(packs_needed) * sizeof(Pack)));
    rows = reinterpret_cast<E*>(take(t * w * sizeof(E)));
    static_rows = reinterpret_cast<E*>(take(backward ? streams * w * sizeof(E) : 0));
    dynamic_rows = reinterpret_cast<E*>(take(backward ? streams * w * sizeof(E) : 0));
    out = reinterpret_cast<double*>(take(backward ? t * w * sizeof(double) : 0));
    const bool scales = backward && p.spread;
    scaled = reinterpret_cast<double*>(take(scales ? kLanes * t * w * sizeof(double) : 0));
    scaled_pointers = reinterpret_cast<const double**>(take(scales ? t * sizeof(void*) : 0));
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

    const int rows_out = stream_rows(p);
    double* const dynamic_coef = buffers.coef + rows_out * t;
    for (int e = 0; e < rows_out * t; ++e) buffers.coef[e] = broken[l] ? nan : c.static_coef[e][l];
    for (int e = 0; e < q * t; ++e) dynamic_coef[e] = broken[l] ? nan : c.dynamic_coef[e][l];
    const bool* const mask = mask_of(d.frame_mask, clip, t);
    const Rows<E> rows = read_rows(d.features, clip * t, t, p.width, p.dtype, mask, buffers.rows);
    for (int i = 0; i < t; ++i) buffers.pointers[i] = rows.row(i);
    const int both = p.spread ? 1 : 2 * rows_out;
    const Inputs<E> in{buffers.pointers, t};
    combine(in, buffers.coef, both, p.width, [&](int r, int m, Pack x) {
      void* const to = r < rows_out ? d.fixed : d.dynamic;
      store(to, (clip * rows_out + r % rows_out) * p.width + m, p.width - m, p.dtype, x);
    });
    if (!p.spread) continue;
    const double share = 1.0 / larger(c.frame_count[l], 1.0);
    squares(in.rows, t, dynamic_coef, t, p.width, [&](int m, Pack deviations, Pack frames) {
      const Pack spread = spread_of(share * deviations, share * frames);
      store(d.dynamic, clip * p.width + m, p.width - m, p.dtype, spread);
    });
  }
}

// The frames of a clip, each feature times what turns deviations into their cotangents.
template <class E>
Rows<double> scaled_rows(
    const Problem& p, const PackClip& c, int l, Rows<E> rows, Rows<E> grad, const Buffers<E>& buffers) {
  const int t = c.t, stride = padded(p.width);
  const double share = 1.0 / larger(c.frame_count[l], 1.0);
  for (int i = 0; i < t; ++i) buffers.pointers[i] = rows.row(i);
  for (int e = 0; e < t * t; ++e) buffers.coef[e] = c.dynamic_coef[e][l];
  double* const out = buffers.scaled + int64_t(l) * t * stride;
  squares(buffers.pointers, t, buffers.coef, t, p.width, [&](int m, Pack deviations, Pack frames) {
    const Pack spread = spread_of(share * deviations, share * frames);
    const Pack scale = spread_slope(share * load(grad.row(0) + m), spread);
    for (int i = 0; i < t; ++i) {
      const Pack x = scale * load(rows.row(i) + m);
      std::memcpy(out + int64_t(i) * stride + m, &x, sizeof x);
    }
  });
  return {out, t, stride};
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

  const int streams = stream_rows(p);
  const auto grad_rows = [&](const void* data, int64_t clip, E* buffer) {
    const bool* const mask = streams > 1 ? mask_of(d.frame_mask, clip, t) : nullptr;
    return read_rows(data, clip * streams, streams, p.width, p.dtype, mask, buffer);
  };
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
  }

  c.count_frames();
  c.whitened();
  c.weigh();

  double* const block = buffers.coef;
  for (int l = 0; l < clips; ++l) {
    if (broken[l]) continue;
    const int64_t clip = first + l;
    const bool* const mask = mask_of(d.frame_mask, clip, t);
    const Rows<E> rows = read_rows(d.features, clip * t, t, p.width, p.dtype, mask, buffers.rows);
    Rows<E> future = rows;
    future.p += future.stride;
    future.count = n;
    for (int side = 0; side < 2; ++side) {
      const Rows<E> g = side ? grad_rows(d.grad_dynamic, clip, buffers.dynamic_rows)
                             : grad_rows(d.grad_static, clip, buffers.static_rows);
      for (int i = 0; i < streams; ++i) {
        dot_tile<1, 1>(g.row(i), 0, g.row(i), 0, padded(p.width), block, 1);
        incoming[l] += block[0];
      }
      Pack* const to = side ? c.dynamic_dots : c.static_dots;
      int columns = streams;
      if (side && p.spread) {
        columns = t;
        dots(future, scaled_rows(p, c, l, rows, g, buffers), p.width, block, columns, false);
      } else {
        dots(future, g, p.width, block, columns, false);
      }
      for (int e = 0; e < n * columns; ++e) to[e][l] = block[e];
    }
  }

  if (p.spread) c.spread_dots();
  bool losses = false;
  for (int k = 0; k < kLosses; ++k) losses = losses || any_of(grads[k] != 0.0);
  if (losses) c.backward_losses(grads);
  c.backward_split();

  // Of the spread, the share of the dynamic stream is a mix of the scaled frames.
  const int inputs = t + (p.spread ? 1 : 2 * streams), stride = padded(p.width);
  const int total = inputs + (p.spread ? t : 0);
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
    for (int i = 0; i < streams; ++i) {
      buffers.pointers[t + i] = gs.row(i);
      buffers.pointers[t + streams + i] = gd.row(i);
    }
    for (int i = 0; i < t; ++i) {
      double* const coef = buffers.coef + i * total;
      for (int j = 0; j < t; ++j) coef[j] = c.split_mix[i * t + j][l];
      for (int j = 0; j < streams; ++j) {
        coef[t + j] = c.static_coef[j * t + i][l];
        if (!p.spread) coef[t + streams + j] = c.dynamic_coef[j * t + i][l];
      }
      if (p.spread)
        for (int j = 0; j < t; ++j) coef[inputs + j] = c.curve[i * t + j][l];
    }
    Inputs<E> in{buffers.pointers, inputs};
    if (p.spread) {
      for (int i = 0; i < t; ++i) buffers.scaled_pointers[i] = buffers.scaled + (int64_t(l) * t + i) * stride;
      in.more = buffers.scaled_pointers;
      in.extra = t;
    }
    Pack square{};
    combine(in, buffers.coef, t, p.width, [&](int r, int m, Pack x) {
      square += x * x;
      std::memcpy(buffers.out + int64_t(r) * stride + m, &x, sizeof x);
    });
    const double gain = gain_of(c.frame_count[l], lane_sum(square), incoming[l]);
    d.gain[clip] = gain;
    const double factor = guard_factor(p, gain);

    for (int e = 0; e < t * t; ++e) buffers.coef[e] = losses ? c.loss_mix[e][l] : 0.0;
    const Inputs<E> frames{buffers.pointers, losses ? t : 0};
    combine(frames, buffers.coef, t, p.width, [&](int r, int m, Pack x) {
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
