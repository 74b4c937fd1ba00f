// One clip worked on by a group of lanes: the group reads the features, runs the
// small algebra in shared memory and writes the streams or the gradient. The CUDA
// kernels are thin wrappers around the two functions at the end.
#pragma once

#include "koopman_adjoint.h"
#include "short_clip.h"

namespace bodvcl {
namespace BODVCL_ISA {

constexpr int kChunk = 32;

// Clips of so many frames are read without a stage.
template <class T>
constexpr bool kShort = kKnown<T> == 8;

// Columns of the features that are staged at a time: all of them where `bytes` suffice.
template <class E>
BODVCL_HD inline int staged_width(const Problem& p, int bytes) {
  return p.frames * p.width * static_cast<int>(sizeof(E)) <= bytes ? p.width : kChunk;
}

// gram <- F F' in double, upper triangle, through the stage. With staged width == feature width the stage
// holds the clip afterwards.
template <class T, class Group, class E>
BODVCL_HD inline void read_staged_gram(
    Group g, const Problem& p, T t, const E* x, const double* frames, E* stage, int staged, double* gram) {
  each(g, t * t, [&](int e) { gram[e] = 0.0; });
  for (int first = 0; first < p.width; first += staged) {
    const int w = p.width - first < staged ? p.width - first : staged;
    g.sync();
    each(g, t * w, [&](int e) {
      const int i = e / w, c = e % w;
      stage[i * staged + c] = frames[i] > 0 ? x[i * p.width + first + c] : Element<E>::put(0.0);
    });
    g.sync();
    each(g, t * t, [&](int e) {
      const int i = e / t, j = e % t;
      if (i > j) return;
      const E* const a = stage + i * staged;
      const E* const b = stage + j * staged;
      double sum = 0.0;
      int c = g.lane() % w;  // lanes start apart: no two read the same bank
      for (int k = 0; k < w; ++k) {
        sum += Element<E>::get(a[c]) * Element<E>::get(b[c]);
        c = c + 1 == w ? 0 : c + 1;
      }
      gram[e] += sum;
    });
  }
}

// gram <- F F' in double; false where it is not finite (gram is zero then).
template <class T, class Group, class E>
BODVCL_HD inline bool read_gram(
    Group g, const Problem& p, T t, bool wide, const E* x, const double* frames, E* stage, int staged,
    double* gram) {
  if constexpr (kShort<T>)
    short_gram<kKnown<T>>(g, p.width, wide, x, frames, gram);
  else
    read_staged_gram(g, p, t, x, frames, stage, staged, gram);
  g.sync();
  double energy = 0.0;
  for (int i = 0; i < t; ++i) energy += gram[i * t + i];
  const bool finite = energy <= 1.7976931348623157e308;
  g.sync();
  each(g, t * t, [&](int e) {
    const int i = e / t, j = e % t;
    if (!finite)
      gram[e] = 0.0;
    else if (i > j)
      gram[e] = gram[j * t + i];
  });
  g.sync();
  return finite;
}

template <class Group>
BODVCL_HD inline void read_frames(Group g, int t, const bool* mask, double* frames) {
  each(g, t, [&](int i) { frames[i] = mask == nullptr || mask[i] ? 1.0 : 0.0; });
  g.sync();
}

template <class T, class Group, class E>
BODVCL_HD inline void forward_clip(
    Group g, const Problem& p, const ForwardData& d, int64_t clip, double* memory, E* stage, int staged) {
  Clip<Group, double, T> c(g, p);
  c.layout(memory, false);
  const auto t = c.t;
  const auto n = c.n;
  const auto n2 = c.n2;
  const auto q = c.q;
  const E* const x = static_cast<const E*>(d.features) + clip * t * p.width;
  read_frames(g, t, d.frame_mask ? d.frame_mask + clip * t : nullptr, c.frames);
  const int streams = c.streams();
  E* const fixed = static_cast<E*>(d.fixed) + clip * streams * p.width;
  E* const dynamic = static_cast<E*>(d.dynamic) + clip * streams * p.width;
  const bool wide = p.width % kWide<E> == 0 && aligned(x) && aligned(fixed) && aligned(dynamic);
  const bool finite = read_gram(g, p, t, wide, x, c.frames, stage, staged, c.gram);
  c.forward();

  const double poison = finite ? 0.0 : NAN;
  if (g.lane() == 0) {
    for (int k = 0; k < kLosses; ++k) d.losses[clip * kLosses + k] = c.losses[k] + poison;
    for (int k = 0; k < kStats - 1; ++k) d.stats[clip * kStats + k] = c.stats[k] + poison;
    d.stats[clip * kStats + kStats - 1] = finite ? 0.0 : 1.0;
  }
  each(g, n2, [&](int e) { d.reduced[clip * n2 + e] = c.reduced[e] + poison; });
  double* saved = d.saved + clip * saved_size(t, p.smooth);
  each(g, t * t, [&](int e) {
    const int i = e / t, j = e % t;
    if (i <= j) saved[i * t - i * (i - 1) / 2 + j - i] = c.gram[e];
  });
  saved += saved_gram(t);
  each(g, n, [&](int i) { saved[i] = c.lam[i]; });
  saved += n;
  each(g, n2, [&](int e) { saved[e] = c.vectors[e]; });
  saved += n2;
  if (!p.smooth) {
    each(g, n2, [&](int e) { saved[e] = c.projector[e]; });
    saved += n2;
  }
  if (g.lane() == 0) {
    saved[0] = c.radius;
    saved[1] = finite ? 0.0 : 1.0;
  }

  if constexpr (kShort<T>) {
    short_streams(c, wide, x, poison, fixed, dynamic);
  } else {
    const bool resident = staged == p.width;
    const double share = 1.0 / larger(c.frame_count, 1.0);
    each(g, p.width, [&](int m) {
      double variance = poison, size = 0.0;
      for (int r = 0; r < q; ++r) {
        double a = poison, b = poison;
        for (int s = 0; s < t; ++s) {
          const double v = !finite || !(c.frames[s] > 0)
              ? 0.0
              : Element<E>::get(resident ? stage[s * staged + m] : x[s * p.width + m]);
          if (r < streams) a += c.static_coef[r * t + s] * v;
          b += c.dynamic_coef[r * t + s] * v;
          if (r == 0) size += share * v * v;
        }
        if (r < streams) fixed[r * p.width + m] = Element<E>::put(a);
        if (c.spreads())
          variance += share * b * b;
        else
          dynamic[r * p.width + m] = Element<E>::put(b);
      }
      if (c.spreads()) dynamic[m] = Element<E>::put(spread_of(variance, size));
    });
  }
  g.sync();
}

// out[i * columns + c] <- sum over features of x_(i+1) grad_c, eight frames at a time, for a cotangent
// grad(column, feature); returns this lane's share of the energy of its valid columns.
template <class Group, class T, class E, class F>
BODVCL_HD inline double read_dots(
    Group g, const Clip<Group, double, T>& c, const E* x, int columns, F&& grad, double* out) {
  constexpr int kAtOnce = 8;
  const int width = c.problem.width;
  double energy = 0.0;
  for (int column = 0; column < columns; ++column) {
    const bool used = columns == 1 || c.frames[column] > 0;
    for (int first = 0; first < c.n; first += kAtOnce) {
      double part[kAtOnce] = {};
      if (used)
        for (int m = g.lane(); m < width; m += g.size()) {
          const double v = grad(column, m);
          if (first == 0) energy += v * v;
          BODVCL_UNROLL
          for (int k = 0; k < kAtOnce; ++k) {
            const int i = first + k;
            if (i < c.n && c.frames[i + 1] > 0) part[k] += Element<E>::get(x[(i + 1) * width + m]) * v;
          }
        }
      g.totals(part, [&](int k, double sum) {
        if (first + k < c.n) out[(first + k) * columns + column] = sum;
      });
    }
  }
  return energy;
}

// The deviation of a frame in one feature.
template <class Group, class T, class E>
BODVCL_HD inline double deviation(const Clip<Group, double, T>& c, const E* x, int frame, int m) {
  double b = 0.0;
  for (int s = 0; s < c.t; ++s)
    if (c.frames[s] > 0) b += c.dynamic_coef[frame * c.t + s] * Element<E>::get(x[s * c.problem.width + m]);
  return b;
}

// scale <- what turns the deviations of a feature into their cotangents; returns this lane's share of the
// energy of grad, the cotangent of the spread.
template <class Group, class T, class E>
BODVCL_HD inline double read_scale(
    Group g, const Clip<Group, double, T>& c, const E* x, const E* grad, double* scale) {
  const double share = 1.0 / larger(c.frame_count, 1.0);
  const int width = c.problem.width;
  double energy = 0.0;
  each(g, width, [&](int m) {
    double variance = 0.0, size = 0.0;
    for (int i = 0; i < c.t; ++i) {
      const double v = c.frames[i] > 0 ? Element<E>::get(x[i * width + m]) : 0.0, b = deviation(c, x, i, m);
      size += share * v * v;
      variance += share * b * b;
    }
    const double v = Element<E>::get(grad[m]);
    energy += v * v;
    scale[m] = spread_slope(share * v, spread_of(variance, size));
  });
  g.sync();
  return energy;
}

// Writes the gradient of the features; returns the gain of the split. `energy`: that of the cotangents.
template <class Group, class T, class E>
BODVCL_HD inline double write_gradient(
    const Clip<Group, double, T>& c, const E* x, const E* grad_static, const E* grad_dynamic,
    const double* scale, bool losses, double energy, E* out) {
  const Problem& p = c.problem;
  const int t = c.t, streams = c.streams(), width = p.width;
  // Gradient of the split at (frame i, feature m).
  const auto split = [&](int i, int m) {
    double s = 0.0;
    for (int j = 0; j < t; ++j) {
      const double mix = c.split_mix[i * t + j] + (c.spreads() ? scale[m] * c.curve[i * t + j] : 0.0);
      if (c.frames[j] > 0) s += mix * Element<E>::get(x[j * width + m]);
    }
    for (int j = 0; j < streams; ++j)
      if (streams == 1 || c.frames[j] > 0) {
        s += c.static_coef[j * t + i] * Element<E>::get(grad_static[j * width + m]);
        if (!c.spreads()) s += c.dynamic_coef[j * t + i] * Element<E>::get(grad_dynamic[j * width + m]);
      }
    return s;
  };
  double outgoing = 0.0;
  each(c.g, width, [&](int m) {
    for (int i = 0; i < t; ++i) {
      const double s = split(i, m);
      outgoing += s * s;
    }
  });
  const double gain = gain_of(c.frame_count, c.g.sum(outgoing), energy), factor = guard_factor(p, gain);
  each(c.g, width, [&](int m) {
    for (int i = 0; i < t; ++i) {
      double s = factor * split(i, m);
      if (losses)
        for (int j = 0; j < t; ++j)
          if (c.frames[j] > 0) s += c.loss_mix[i * t + j] * Element<E>::get(x[j * width + m]);
      out[i * width + m] = Element<E>::put(s);
    }
  });
  return gain;
}

template <class T, class E, class Group>
BODVCL_HD inline void backward_clip(
    Group g, const Problem& p, const BackwardData& d, int64_t clip, double* memory) {
  Clip<Group, double, T> c(g, p);
  double* const scale = memory + c.layout(memory, true);  // width numbers, for the spread
  const auto t = c.t;
  const auto n = c.n;
  const auto n2 = c.n2;
  const int width = p.width, streams = c.streams();
  const E* const x = static_cast<const E*>(d.features) + clip * t * width;
  const E* const grad_static = static_cast<const E*>(d.grad_static) + clip * streams * width;
  const E* const grad_dynamic = static_cast<const E*>(d.grad_dynamic) + clip * streams * width;
  E* const out = static_cast<E*>(d.grad_features) + clip * t * width;
  const double* saved = d.saved + clip * saved_size(t, p.smooth);
  if (saved[saved_size(t, p.smooth) - 1] != 0.0) {
    each(g, t * width, [&](int e) { out[e] = Element<E>::put(NAN); });
    if (g.lane() == 0) d.gain[clip] = NAN;
    return;
  }
  read_frames(g, t, d.frame_mask ? d.frame_mask + clip * t : nullptr, c.frames);
  each(g, t * t, [&](int e) {
    const int i = e / t, j = e % t, a = i < j ? i : j, b = i < j ? j : i;
    c.gram[e] = saved[a * t - a * (a - 1) / 2 + b - a];
  });
  saved += saved_gram(t);
  each(g, n, [&](int i) { c.lam[i] = saved[i]; });
  saved += n;
  each(g, n2, [&](int e) { c.vectors[e] = saved[e]; });
  saved += n2;
  if (!p.smooth) {
    each(g, n2, [&](int e) { c.projector[e] = saved[e]; });
    saved += n2;
  }
  c.radius = p.smooth ? 1.0 : saved[0];
  const bool wide =
      width % kWide<E> == 0 && aligned(x) && aligned(grad_static) && aligned(grad_dynamic) && aligned(out);
  c.count_frames();
  c.whitened();
  c.weigh();
  double incoming;
  if constexpr (kShort<T>) {
    incoming = short_dots(c, wide, x, grad_static, grad_dynamic);
  } else {
    const auto given = [&](const E* grad) {
      return [=](int column, int m) { return Element<E>::get(grad[column * width + m]); };
    };
    incoming = read_dots(g, c, x, streams, given(grad_static), c.static_dots);
    if (c.spreads()) {
      incoming += read_scale(g, c, x, grad_dynamic, scale);
      const auto scaled = [&](int frame, int m) { return scale[m] * Element<E>::get(x[frame * width + m]); };
      read_dots(g, c, x, t, scaled, c.dynamic_dots);
    } else {
      incoming += read_dots(g, c, x, streams, given(grad_dynamic), c.dynamic_dots);
    }
    incoming = g.sum(incoming);
    if (c.spreads()) c.spread_dots();
  }
  double grads[kLosses];
  bool losses = false;
  for (int k = 0; k < kLosses; ++k) {
    grads[k] = d.grad_losses[clip * kLosses + k];
    losses = losses || grads[k] != 0.0;
  }
  if (losses) c.backward_losses(grads);
  c.backward_split();

  double gain;
  if constexpr (kShort<T>)
    gain = short_gradient(c, wide, x, grad_static, grad_dynamic, losses, incoming, out);
  else
    gain = write_gradient(c, x, grad_static, grad_dynamic, scale, losses, incoming, out);
  if (g.lane() == 0) d.gain[clip] = gain;
  g.sync();
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
