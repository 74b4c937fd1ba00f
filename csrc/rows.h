// Feature rows on the CPU: conversion from any dtype, dot products between rows
// and weighted sums of rows, in double precision, vectorised along the features.
#pragma once

#include <cstring>

#include "lanes.h"
#include "problem.h"

namespace bodvcl {
namespace BODVCL_ISA {

// --- 16-bit formats, by their bits -------------------------------------------------

inline float from_bits(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline uint32_t to_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}

inline float bfloat16_to_float(uint16_t h) { return from_bits(uint32_t(h) << 16); }

inline uint16_t float_to_bfloat16(float f) {
  const uint32_t u = to_bits(f);
  if (f != f) return 0x7fc0;
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, rest = uint32_t(h & 0x7fff) << 13;
  // 2^112 moves the exponent; a half with all exponent bits set stays infinite or NaN.
  const float scaled = from_bits(rest) * 5192296858534827628530496329220096.0f;
  const uint32_t magnitude = (h & 0x7c00) == 0x7c00 ? (rest | 0x7f800000) : to_bits(scaled);
  return from_bits(sign | magnitude);
}

inline uint16_t float_to_half(float f) {
  const uint32_t u = to_bits(f), sign = (u >> 16) & 0x8000;
  const uint32_t magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // rounds to infinity
  if (magnitude < 0x38800000) {  // subnormal: 0.5 aligns the mantissa, the sum rounds to nearest even
    return uint16_t(sign | (to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000));
  }
  return uint16_t(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

// --- rows ----------------------------------------------------------------------------

typedef float FloatPack __attribute__((vector_size(4 * BODVCL_LANES)));

inline Pack load(const double* p) {
  Pack x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline Pack load(const float* p) {
  FloatPack x;
  std::memcpy(&x, p, sizeof x);
  return __builtin_convertvector(x, Pack);
}
inline double lane_sum(Pack x) {
  double s = 0;
  for (int l = 0; l < BODVCL_LANES; ++l) s += x[l];
  return s;
}
inline int padded(int width) { return (width + BODVCL_LANES - 1) / BODVCL_LANES * BODVCL_LANES; }

// `count` rows of E (float or double), padded with zeros to whole packs.
template <class E>
struct Rows {
  const E* p;
  int count, stride;
  const E* row(int i) const { return p + int64_t(i) * stride; }
};

// Rows of a tensor in any dtype; those whose frame is not valid are zero. Used in place where that is
// possible.
template <class E>
inline Rows<E> read_rows(
    const void* data, int64_t first, int count, int width, DType dtype, const bool* valid, E* buffer) {
  const int stride = padded(width);
  const bool direct = dtype == (sizeof(E) == 8 ? DType::kDouble : DType::kFloat);
  if (direct && stride == width && valid == nullptr)
    return {static_cast<const E*>(data) + first * width, count, width};
  for (int i = 0; i < count; ++i) {
    E* const to = buffer + int64_t(i) * stride;
    const int64_t at = (first + i) * width;
    if (valid != nullptr && !valid[i]) {
      std::memset(to, 0, sizeof(E) * stride);
      continue;
    }
    if (direct) {
      std::memcpy(to, static_cast<const E*>(data) + at, sizeof(E) * width);
    } else {
      const uint16_t* const from = static_cast<const uint16_t*>(data) + at;
      if (dtype == DType::kHalf)
        for (int m = 0; m < width; ++m) to[m] = half_to_float(from[m]);
      else
        for (int m = 0; m < width; ++m) to[m] = bfloat16_to_float(from[m]);
    }
    for (int m = width; m < stride; ++m) to[m] = 0;
  }
  return {buffer, count, stride};
}

template <int kA, int kB, class E, class F>
inline void dot_tile(const E* a, int sa, const F* b, int sb, int width, double* out, int so) {
  Pack acc[kA][kB];
  for (int i = 0; i < kA; ++i)
    for (int j = 0; j < kB; ++j) acc[i][j] = Pack{};
  for (int m = 0; m < width; m += BODVCL_LANES) {
    Pack y[kB];
    for (int j = 0; j < kB; ++j) y[j] = load(b + j * sb + m);
    for (int i = 0; i < kA; ++i) {
      const Pack x = load(a + i * sa + m);
      for (int j = 0; j < kB; ++j) acc[i][j] += x * y[j];
    }
  }
  for (int i = 0; i < kA; ++i)
    for (int j = 0; j < kB; ++j) out[i * so + j] = lane_sum(acc[i][j]);
}

// out[i * so + j] = <a_i, b_j>; with `upper`, tiles that lie wholly below the diagonal are left out.
template <class E, class F>
inline void dots(Rows<E> a, Rows<F> b, int width, double* out, int so, bool upper) {
  constexpr int kTile = BODVCL_REGISTERS == 32 ? 4 : 2;
  const int w = padded(width);
  for (int i = 0; i < a.count; i += kTile) {
    for (int j = 0; j < b.count; j += kTile) {
      if (upper && j + kTile <= i) continue;
      double* const o = out + i * so + j;
      if (i + kTile <= a.count && j + kTile <= b.count) {
        dot_tile<kTile, kTile>(a.row(i), a.stride, b.row(j), b.stride, w, o, so);
      } else if (i + kTile <= a.count && j + 1 == b.count) {
        dot_tile<kTile, 1>(a.row(i), a.stride, b.row(j), b.stride, w, o, so);
      } else {
        for (int x = i; x < i + kTile && x < a.count; ++x)
          for (int y = j; y < j + kTile && y < b.count; ++y)
            dot_tile<1, 1>(a.row(x), a.stride, b.row(y), b.stride, w, out + x * so + y, so);
      }
    }
  }
}

// Rows that are combined: some of features, then some of doubles.
template <class E>
struct Inputs {
  const E* const* rows;
  int count;
  const double* const* more = nullptr;
  int extra = 0;
  int total() const { return count + extra; }
};

// acc += coef (kOut rows) times the inputs, at features m ...
template <int kOut, int kPacks, class T>
inline void add_rows(
    const T* const* rows, int count, const double* coef, int stride, int m, Pack (&acc)[kOut][kPacks]) {
  for (int s = 0; s < count; ++s) {
    Pack x[kPacks];
    for (int k = 0; k < kPacks; ++k) x[k] = load(rows[s] + m + k * BODVCL_LANES);
    for (int r = 0; r < kOut; ++r) {
      const double c = coef[r * stride + s];
      for (int k = 0; k < kPacks; ++k) acc[r][k] += c * x[k];
    }
  }
}

template <class E, int kOut, int kPacks, class Sink>
inline void combine_tile(const Inputs<E>& in, const double* coef, int m, int first, Sink&& sink) {
  Pack acc[kOut][kPacks];
  for (int r = 0; r < kOut; ++r)
    for (int k = 0; k < kPacks; ++k) acc[r][k] = Pack{};
  add_rows<kOut, kPacks>(in.rows, in.count, coef, in.total(), m, acc);
  add_rows<kOut, kPacks>(in.more, in.extra, coef + in.count, in.total(), m, acc);
  for (int r = 0; r < kOut; ++r)
    for (int k = 0; k < kPacks; ++k) sink(first + r, m + k * BODVCL_LANES, acc[r][k]);
}

constexpr int kPacksAtOnce = BODVCL_REGISTERS == 32 ? 4 : 2;

template <class E, int kOut, class Sink>
inline void combine_rows(const Inputs<E>& in, const double* coef, int width, int first, Sink&& sink) {
  int m = 0;
  for (; m + kPacksAtOnce * BODVCL_LANES <= width; m += kPacksAtOnce * BODVCL_LANES)
    combine_tile<E, kOut, kPacksAtOnce>(in, coef, m, first, sink);
  for (; m < width; m += BODVCL_LANES) combine_tile<E, kOut, 1>(in, coef, m, first, sink);
}

// sink(row, m, pack) for every row of coef (outputs x inputs) times the input rows.
template <class E, class Sink>
inline void combine(const Inputs<E>& in, const double* coef, int outputs, int width, Sink&& sink) {
  const int inputs = in.total();
  int r = 0;
  for (; r + 4 <= outputs; r += 4) combine_rows<E, 4>(in, coef + r * inputs, width, r, sink);
  for (; r + 2 <= outputs; r += 2) combine_rows<E, 2>(in, coef + r * inputs, width, r, sink);
  for (; r < outputs; ++r) combine_rows<E, 1>(in, coef + r * inputs, width, r, sink);
}

template <int kOut, int kPacks, class E>
inline void add_squares(const E* const* rows, int inputs, const double* coef, int m, Pack (&sum)[kPacks]) {
  Pack acc[kOut][kPacks];
  for (int r = 0; r < kOut; ++r)
    for (int k = 0; k < kPacks; ++k) acc[r][k] = Pack{};
  add_rows<kOut, kPacks>(rows, inputs, coef, inputs, m, acc);
  for (int r = 0; r < kOut; ++r)
    for (int k = 0; k < kPacks; ++k) sum[k] += acc[r][k] * acc[r][k];
}

template <int kPacks, class E, class Sink>
inline void squares_tile(
    const E* const* rows, int inputs, const double* coef, int outputs, int m, Sink&& sink) {
  Pack sum[kPacks], own[kPacks];
  for (int k = 0; k < kPacks; ++k) sum[k] = own[k] = Pack{};
  int r = 0;
  for (; r + 4 <= outputs; r += 4) add_squares<4>(rows, inputs, coef + r * inputs, m, sum);
  for (; r < outputs; ++r) add_squares<1>(rows, inputs, coef + r * inputs, m, sum);
  for (int s = 0; s < inputs; ++s)
    for (int k = 0; k < kPacks; ++k) {
      const Pack x = load(rows[s] + m + k * BODVCL_LANES);
      own[k] += x * x;
    }
  for (int k = 0; k < kPacks; ++k) sink(m + k * BODVCL_LANES, sum[k], own[k]);
}

// sink(m, squares of all rows of coef times the input rows, squares of the input rows), summed over the rows.
template <class E, class Sink>
inline void squares(
    const E* const* rows, int inputs, const double* coef, int outputs, int width, Sink&& sink) {
  int m = 0;
  for (; m + kPacksAtOnce * BODVCL_LANES <= width; m += kPacksAtOnce * BODVCL_LANES)
    squares_tile<kPacksAtOnce>(rows, inputs, coef, outputs, m, sink);
  for (; m < width; m += BODVCL_LANES) squares_tile<1>(rows, inputs, coef, outputs, m, sink);
}

// Writes lanes of x to elements at..at + count - 1 of a tensor of the given dtype.
inline void store(void* data, int64_t at, int count, DType dtype, Pack x) {
  const int lanes = count < BODVCL_LANES ? count : BODVCL_LANES;
  if (dtype == DType::kDouble) {
    std::memcpy(static_cast<double*>(data) + at, &x, lanes * sizeof(double));
    return;
  }
  const FloatPack f = __builtin_convertvector(x, FloatPack);
  if (dtype == DType::kFloat) {
    if (lanes == BODVCL_LANES)
      std::memcpy(static_cast<float*>(data) + at, &f, sizeof f);
    else
      std::memcpy(static_cast<float*>(data) + at, &f, lanes * sizeof(float));
    return;
  }
  uint16_t* const to = static_cast<uint16_t*>(data) + at;
  for (int l = 0; l < lanes; ++l)
    to[l] = dtype == DType::kHalf ? float_to_half(f[l]) : float_to_bfloat16(f[l]);
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
