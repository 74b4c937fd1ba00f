// Real numbers of the small algebra: a plain double (one clip), or a pack of
// doubles whose lanes are different clips. Decisions are masks, so that a lane
// never depends on its neighbours.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "target.h"

namespace bodvcl {
namespace BODVCL_ISA {

template <class R>
struct Mask;
template <>
struct Mask<double> {
  using type = bool;
};
template <class R>
using mask_t = typename Mask<R>::type;

BODVCL_HD inline double sel(bool m, double a, double b) { return m ? a : b; }
BODVCL_HD inline bool any_of(bool m) { return m; }
BODVCL_HD inline bool not_of(bool m) { return !m; }
BODVCL_HD inline double root(double x) { return ::sqrt(x); }
BODVCL_HD inline double inverse_root(double x) {
#ifdef __CUDA_ARCH__
  return ::rsqrt(x);
#else
  return 1.0 / ::sqrt(x);
#endif
}

// |x| as an integer: larger numbers have larger ones, to about six digits.
BODVCL_HD inline int leading_bits(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return int(bits >> 32) & 0x7fffffff;
}

template <class R>
BODVCL_HD inline R fill(double x) {
  return R{} + x;
}

#ifndef __CUDACC__
typedef double Pack __attribute__((vector_size(8 * BODVCL_LANES)));
typedef int64_t PackMask __attribute__((vector_size(8 * BODVCL_LANES)));

template <>
struct Mask<Pack> {
  using type = PackMask;
};

inline Pack sel(PackMask m, Pack a, Pack b) { return m ? a : b; }
inline PackMask not_of(PackMask m) { return ~m; }
inline bool any_of(PackMask m) {
  int64_t any = 0;
  for (int l = 0; l < BODVCL_LANES; ++l) any |= m[l];
  return any != 0;
}
inline Pack root(Pack x) {
  Pack y;
  for (int l = 0; l < BODVCL_LANES; ++l) y[l] = __builtin_sqrt(x[l]);
  return y;
}
inline Pack inverse_root(Pack x) { return 1.0 / root(x); }
#endif

template <class R>
BODVCL_HD inline R absolute(R x) {
  return sel(x < 0, -x, x);
}
template <class R>
BODVCL_HD inline R larger(R a, R b) {
  return sel(a > b, a, b);
}

// Nearest integer of a small number.
template <class R>
BODVCL_HD inline R nearest(R x) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52
  return (x + kShift) - kShift;
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
