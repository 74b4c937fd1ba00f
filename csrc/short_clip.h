// Features of clips of 8 frames on their way between memory and the algebra: every lane takes a few
// neighbouring features of all frames, so that each byte is in flight at once and read with the widest
// loads.
#pragma once

#include "koopman_forward.h"

namespace bodvcl {
namespace BODVCL_ISA {

// Conversion of a tensor element; specialised for the 16-bit types where they exist.
template <class E>
struct Element {
  BODVCL_HD static double get(E x) { return static_cast<double>(x); }
  BODVCL_HD static E put(double x) { return static_cast<E>(x); }
};

// Neighbouring features that a lane reads or writes at once, where addresses allow it.
template <class E>
constexpr int kWide = sizeof(E) < 8 ? 4 : 2;

template <class E, int kVec>
struct alignas(kVec * sizeof(E) < 16 ? kVec * sizeof(E) : 16) Neighbours {
  E e[kVec];
};

template <class E>
BODVCL_HD inline bool aligned(const E* p) {
  return reinterpret_cast<uintptr_t>(p) % alignof(Neighbours<E, kWide<E>>) == 0;
}

template <int kVec, class E>
BODVCL_HD inline void get(const E* p, double (&v)[kVec]) {
  const auto x = *reinterpret_cast<const Neighbours<E, kVec>*>(p);
  BODVCL_UNROLL
  for (int k = 0; k < kVec; ++k) v[k] = Element<E>::get(x.e[k]);
}

template <int kVec, class E>
BODVCL_HD inline void put(E* p, const double (&v)[kVec]) {
  Neighbours<E, kVec> x;
  BODVCL_UNROLL
  for (int k = 0; k < kVec; ++k) x.e[k] = Element<E>::put(v[k]);
#ifdef __CUDA_ARCH__
  if constexpr (sizeof x == sizeof(uint4)) {  // a plain assignment may become four stores
    uint4 bits;
    memcpy(&bits, &x, sizeof bits);
    __stcs(reinterpret_cast<uint4*>(p), bits);
    return;
  }
#endif
  *reinterpret_cast<Neighbours<E, kVec>*>(p) = x;
}

// Some neighbouring features of all frames; 0 in invalid frames, whatever they hold.
template <int kT, int kVec>
struct Columns {
  double v[kT][kVec];
  template <class E>
  BODVCL_HD Columns(const E* x, int width, const double* frames) {
    Neighbours<E, kVec> raw[kT];
    BODVCL_UNROLL
    for (int i = 0; i < kT; ++i) raw[i] = *reinterpret_cast<const Neighbours<E, kVec>*>(x + i * width);
    BODVCL_UNROLL
    for (int i = 0; i < kT; ++i) {
      const bool valid = frames[i] > 0;
      BODVCL_UNROLL
      for (int k = 0; k < kVec; ++k) v[i][k] = valid ? Element<E>::get(raw[i].e[k]) : 0.0;
    }
  }
};

// f(first feature, number of them as Fixed) for all features, divided over the lanes.
template <class E, class Group, class F>
BODVCL_HD inline void each_features(Group g, int width, bool wide, F&& f) {
  constexpr int kMany = kWide<E>;
  if (wide) {
    BODVCL_ROLLED
    for (int m = kMany * g.lane(); m < width; m += kMany * g.size()) f(m, Fixed<kMany>{});
  } else {
    BODVCL_ROLLED
    for (int m = g.lane(); m < width; m += g.size()) f(m, Fixed<1>{});
  }
}

// gram <- F F' in double, upper triangle.
template <int kT, class Group, class E>
BODVCL_HD inline void short_gram(
    Group g, int width, bool wide, const E* x, const double* frames, double* gram) {
  // Products (0, 0), (0, 1), ..., (1, 1), ...: the first sums are made together, then the rest.
  constexpr int kProducts = kT * (kT + 1) / 2, kFirst = 32, kRest = 4;
  static_assert(kProducts == kFirst + kRest, "for clips of 8 frames");
  double first[kFirst] = {}, rest[kRest] = {};
  each_features<E>(g, width, wide, [&](int m, auto count) {
    constexpr int kVec = kKnown<decltype(count)>;
    const Columns<kT, kVec> c(x + m, width, frames);
    BODVCL_UNROLL
    for (int i = 0; i < kT; ++i) {
      BODVCL_UNROLL
      for (int j = 0; j < kT; ++j) {
        const int at = i * kT - i * (i - 1) / 2 + j - i;
        BODVCL_UNROLL
        for (int k = 0; k < kVec; ++k) {
          if (j >= i && at < kFirst) first[at] += c.v[i][k] * c.v[j][k];
          if (j >= i && at >= kFirst) rest[at - kFirst] += c.v[i][k] * c.v[j][k];
        }
      }
    }
  });
  const auto write = [&](int at, double sum) {
    int i = 0, left = at;
    while (left >= kT - i) left -= kT - i++;
    gram[i * kT + i + left] = sum;
  };
  g.totals(first, write);
  g.totals(rest, [&](int at, double sum) { write(kFirst + at, sum); });
}

// Both streams: rows of coefficients over frames, applied to the features. `poison` is added.
template <class Group, int kT, class E>
BODVCL_HD inline void short_streams(
    const Clip<Group, double, Fixed<kT>>& c, bool wide, const E* x, double poison, E* fixed, E* dynamic) {
  each_features<E>(c.g, c.problem.width, wide, [&](int m, auto count) {
    constexpr int kVec = kKnown<decltype(count)>;
    const Columns<kT, kVec> in(x + m, c.problem.width, c.frames);
    double a[kVec], b[kVec];
    BODVCL_UNROLL
    for (int k = 0; k < kVec; ++k) a[k] = b[k] = poison;
    BODVCL_UNROLL
    for (int s = 0; s < kT; ++s) {
      BODVCL_UNROLL
      for (int k = 0; k < kVec; ++k) {
        a[k] += c.static_coef[s] * in.v[s][k];
        b[k] += c.dynamic_coef[s] * in.v[s][k];
      }
    }
    put(fixed + m, a);
    put(dynamic + m, b);
  });
}

// static_dots and dynamic_dots <- sums over features of x_(i+1) times the cotangent of a stream; returns the
// energy of both cotangents.
template <class Group, int kT, class E>
BODVCL_HD inline double short_dots(
    const Clip<Group, double, Fixed<kT>>& c, bool wide, const E* x, const E* grad_static,
    const E* grad_dynamic) {
  constexpr int kPairs = kT - 1;
  double part[2 * kT] = {}, energy = 0.0;
  each_features<E>(c.g, c.problem.width, wide, [&](int m, auto count) {
    constexpr int kVec = kKnown<decltype(count)>;
    const Columns<kT, kVec> in(x + m, c.problem.width, c.frames);
    double a[kVec], b[kVec];
    get(grad_static + m, a);
    get(grad_dynamic + m, b);
    BODVCL_UNROLL
    for (int k = 0; k < kVec; ++k) {
      energy += a[k] * a[k] + b[k] * b[k];
      BODVCL_UNROLL
      for (int i = 0; i < kPairs; ++i) {
        part[i] += in.v[i + 1][k] * a[k];
        part[kT + i] += in.v[i + 1][k] * b[k];
      }
    }
  });
  c.g.totals(part, [&](int at, double sum) {
    const int i = at % kT;
    if (i < kPairs) (at < kT ? c.static_dots : c.dynamic_dots)[i] = sum;
  });
  return c.g.sum(energy);
}

// Gradient of one frame's features: a mix of the frames, and shares of the cotangents of the streams.
template <class Group, int kT, int kVec>
BODVCL_HD inline void short_split(
    const Clip<Group, double, Fixed<kT>>& c, const Columns<kT, kVec>& in, const double (&a)[kVec],
    const double (&b)[kVec], int i, double (&out)[kVec]) {
  BODVCL_UNROLL
  for (int k = 0; k < kVec; ++k) out[k] = c.static_coef[i] * a[k] + c.dynamic_coef[i] * b[k];
  BODVCL_UNROLL
  for (int j = 0; j < kT; ++j) {
    BODVCL_UNROLL
    for (int k = 0; k < kVec; ++k) out[k] += c.split_mix[i * kT + j] * in.v[j][k];
  }
}

// Writes the gradient of the features; returns the gain of the split. `energy`: that of the cotangents.
template <class Group, int kT, class E>
BODVCL_HD inline double short_gradient(
    const Clip<Group, double, Fixed<kT>>& c, bool wide, const E* x, const E* grad_static,
    const E* grad_dynamic, bool losses, double energy, E* out) {
  const Problem& p = c.problem;
  double outgoing = 0.0;
  each_features<E>(c.g, p.width, wide, [&](int m, auto count) {
    constexpr int kVec = kKnown<decltype(count)>;
    const Columns<kT, kVec> in(x + m, p.width, c.frames);
    double a[kVec], b[kVec], s[kVec];
    get(grad_static + m, a);
    get(grad_dynamic + m, b);
    BODVCL_ROLLED
    for (int i = 0; i < kT; ++i) {
      short_split(c, in, a, b, i, s);
      BODVCL_UNROLL
      for (int k = 0; k < kVec; ++k) outgoing += s[k] * s[k];
    }
  });
  const double gain = gain_of(c.frame_count, c.g.sum(outgoing), energy), factor = guard_factor(p, gain);
  each_features<E>(c.g, p.width, wide, [&](int m, auto count) {
    constexpr int kVec = kKnown<decltype(count)>;
    const Columns<kT, kVec> in(x + m, p.width, c.frames);
    double a[kVec], b[kVec], s[kVec];
    get(grad_static + m, a);
    get(grad_dynamic + m, b);
    BODVCL_ROLLED
    for (int i = 0; i < kT; ++i) {
      short_split(c, in, a, b, i, s);
      BODVCL_UNROLL
      for (int k = 0; k < kVec; ++k) s[k] *= factor;
      if (losses) {
        BODVCL_UNROLL
        for (int j = 0; j < kT; ++j) {
          BODVCL_UNROLL
          for (int k = 0; k < kVec; ++k) s[k] += c.loss_mix[i * kT + j] * in.v[j][k];
        }
      }
      put(out + i * p.width + m, s);
    }
  });
  return gain;
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
