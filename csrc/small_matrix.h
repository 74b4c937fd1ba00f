// Dense algebra on n x n matrices, n < 64: product, inverse, inverse Cholesky factor, symmetric
// eigen-decomposition. Sizes are plain ints or Fixed. Every function ends synchronised.
#pragma once

#include "group.h"

namespace bodvcl {
namespace BODVCL_ISA {

// A matrix in memory, by row and column stride (plain ints or Fixed); t() is the transpose.
template <class R, class Rows = int, class Columns = Fixed<1>>
struct View {
  R* p;
  Rows rs;
  Columns cs;
  BODVCL_HD R& operator()(int i, int j) const { return p[i * rs + j * cs]; }
  BODVCL_HD View<R, Columns, Rows> t() const { return {p, cs, rs}; }
};

template <class R, class N>
BODVCL_HD inline View<R, N> square(R* p, N n) {
  return {p, n, {}};
}

template <class R, int kRows, int kCols, class A, class B, class C>
inline void product_tile(A a, B b, C c, int i, int j, int inner, bool add) {
  R acc[kRows][kCols];
  for (int r = 0; r < kRows; ++r)
    for (int s = 0; s < kCols; ++s) acc[r][s] = add ? c(i + r, j + s) : R{};
  for (int k = 0; k < inner; ++k) {
    R right[kCols];
    for (int s = 0; s < kCols; ++s) right[s] = b(k, j + s);
    for (int r = 0; r < kRows; ++r) {
      const R left = a(i + r, k);
      for (int s = 0; s < kCols; ++s) acc[r][s] += left * right[s];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int s = 0; s < kCols; ++s) c(i + r, j + s) = acc[r][s];
}

template <class R, int kRows, class A, class B, class C>
inline void product_rows(A a, B b, C c, int i, int cols, int inner, bool add) {
  int j = 0;
  for (; j + 4 <= cols; j += 4) product_tile<R, kRows, 4>(a, b, c, i, j, inner, add);
  switch (cols - j) {
    case 3: product_tile<R, kRows, 3>(a, b, c, i, j, inner, add); break;
    case 2: product_tile<R, kRows, 2>(a, b, c, i, j, inner, add); break;
    case 1: product_tile<R, kRows, 1>(a, b, c, i, j, inner, add); break;
    default: break;
  }
}

template <class R, class A, class B, class C>
inline void serial_product(int rows, int cols, int inner, A a, B b, C c, bool add) {
  constexpr int kTile = BODVCL_LANES == 8 ? 4 : 2;  // what fits the vector registers
  int i = 0;
  for (; i + kTile <= rows; i += kTile) product_rows<R, kTile>(a, b, c, i, cols, inner, add);
  switch (rows - i) {
    case 3: product_rows<R, 3>(a, b, c, i, cols, inner, add); break;
    case 2: product_rows<R, 2>(a, b, c, i, cols, inner, add); break;
    case 1: product_rows<R, 1>(a, b, c, i, cols, inner, add); break;
    default: break;
  }
}

// c = a b, or c += a b. c must not overlap a or b.
template <
    class Group, class R, class Rows, class Cols, class Inner, class A1, class A2, class B1, class B2,
    class C1, class C2>
BODVCL_CALL void product(
    Group g, Rows rows, Cols cols, Inner inner, View<R, A1, A2> a, View<R, B1, B2> b, View<R, C1, C2> c,
    bool add = false) {
  if constexpr (Group::kSerial) {
    serial_product<R>(rows, cols, inner, a, b, c, add);
  } else {
    place<Group>(a.p);
    place<Group>(b.p);
    place<Group>(c.p);
    constexpr int kOwn = kPerLane<Group, decltype(times(rows, cols))>;
    if constexpr (kOwn > 0) {
      R sum[kOwn];
      int row[kOwn], column[kOwn];
      BODVCL_UNROLL
      for (int o = 0; o < kOwn; ++o) {
        const int e = g.lane() + o * Group::kLanes, last = rows * cols - 1;
        row[o] = (e < last ? e : last) / cols;
        column[o] = (e < last ? e : last) % cols;
        sum[o] = add && e <= last ? c(row[o], column[o]) : R{};
      }
      BODVCL_UNROLL
      for (int k = 0; k < inner; ++k) {
        BODVCL_UNROLL
        for (int o = 0; o < kOwn; ++o) sum[o] += a(row[o], k) * b(k, column[o]);
      }
      BODVCL_UNROLL
      for (int o = 0; o < kOwn; ++o)
        if (g.lane() + o * Group::kLanes < rows * cols) c(row[o], column[o]) = sum[o];
    } else {
      each(g, rows * cols, [&](int e) {
        const int i = e / cols, j = e % cols;
        R sum = add ? c(i, j) : R{};
        for (int k = 0; k < inner; ++k) sum += a(i, k) * b(k, j);
        c(i, j) = sum;
      });
    }
    g.sync();
  }
}

template <class R>
BODVCL_HD inline R reciprocal_pivot(R pivot) {
  return 1.0 / sel(pivot == 0, fill<R>(1e-200), pivot);
}

// Row of the largest |a[i][k]|, i >= k, as a number per clip.
template <class R>
inline R pivot_row(const R* a, int n, int k) {
  R best = absolute(a[k * n + k]), row = fill<R>(k);
  for (int i = k + 1; i < n; ++i) {
    const R v = absolute(a[i * n + k]);
    const mask_t<R> m = v > best;
    best = sel(m, v, best);
    row = sel(m, fill<R>(i), row);
  }
  return row;
}

// Exchanges two strided vectors in the clips of the mask.
template <class R>
inline void exchange(mask_t<R> m, R* x, R* y, int n, int stride) {
  for (int j = 0; j < n; ++j) {
    const R u = x[j * stride], v = y[j * stride];
    x[j * stride] = sel(m, v, u);
    y[j * stride] = sel(m, u, v);
  }
}

// a <- a^-1 in place: Gauss-Jordan with partial pivoting, rows exchanged clip by clip. `pivots`: n numbers.
template <class R>
inline void serial_invert(int n, R* a, R* pivots) {
  for (int k = 0; k < n; ++k) {
    const R best = pivot_row(a, n, k);
    for (int i = k + 1; i < n; ++i) {
      const mask_t<R> m = best == i;
      if (any_of(m)) exchange(m, a + k * n, a + i * n, n, 1);
    }
    pivots[k] = best;
    R* const top = a + k * n;
    const R inverse = reciprocal_pivot(top[k]);
    top[k] = fill<R>(1.0);
    for (int j = 0; j < n; ++j) top[j] *= inverse;
    for (int i = 0; i < n; ++i) {
      if (i == k) continue;
      R* const low = a + i * n;
      const R factor = low[k];
      low[k] = R{};
      for (int j = 0; j < n; ++j) low[j] -= factor * top[j];
    }
  }
  for (int k = n - 1; k >= 0; --k)
    for (int i = k + 1; i < n; ++i) {
      const mask_t<R> m = pivots[k] == i;
      if (any_of(m)) exchange(m, a + k, a + i, n, n);
    }
}

// Row of the largest |a[i][k]|, i >= k, to about six digits: enough to choose a pivot.
template <class N>
BODVCL_HD inline int largest_row(const double* a, N n, int k) {
  int best = -1, row = k;
#ifdef __CUDA_ARCH__
  constexpr int kAtOnce = kKnown<N> == 7 ? 7 : 1;
#pragma unroll kAtOnce
#endif
  for (int i = 0; i < n; ++i) {
    const int size = i < k ? -1 : leading_bits(a[i * n + k]);
    row = size > best ? i : row;
    best = size > best ? size : best;
  }
  return row;
}

// out <- a^-1, which may be a itself: Gauss-Jordan with partial pivoting. `work`: n^2 + n numbers.
// A zero pivot gives a huge, not an infinite, inverse.
template <class Group, class R, class N>
BODVCL_CALL void invert(Group g, N n, const R* a, R* out, R* work) {
  if constexpr (Group::kSerial) {
    for (int e = 0; e < n * n; ++e) out[e] = a[e];
    serial_invert(n, out, work);
  } else {
    place<Group>(a);
    place<Group>(out);
    place<Group>(work);
    R* const pivots = work + n * n;
    const auto count = times(n, n);
    const R* from = a;
    // The steps write to `work` and `out` in turn, so that the last one writes to `work`.
    if (n % 2 == 0 && a == out) {
      assign(g, count, work, [&](int e) { return a[e]; });
      g.sync();
      from = work;
    }
    BODVCL_ROLLED
    for (int k = 0; k < n; ++k) {
      R* const to = (n - 1 - k) % 2 ? out : work;
      const int best = largest_row(from, n, k);
      const R inverse = reciprocal_pivot(from[best * n + k]);
      // Row `best` moves up to k, row k down to `best`, and column k is eliminated: one pass.
      assign(g, count, to, [&](int e) {
        const int i = e / n, j = e % n, row = i == k ? best : i == best ? k : i;
        const R top = (j == k ? 1.0 : from[best * n + j]) * inverse, old = from[row * n + j];
        return i == k ? top : (j == k ? 0.0 : old) - from[row * n + k] * top;
      });
      if (g.lane() == 0) pivots[k] = best;
      g.sync();
      from = to;
    }
    assign(g, count, out, [&](int e) {
      int column = e % n;
      for (int k = 0; k < n; ++k) {
        const int pivot = int(pivots[k]);
        column = column == k ? pivot : column == pivot ? k : column;
      }
      return work[e / n * n + column];
    });
    g.sync();
  }
}

// w <- upper triangular with w'a w = 1 for a symmetric positive definite a, of which nothing below the
// diagonal is read and which is destroyed: Gauss elimination without exchanges, the inverse of the unit
// factor growing below the diagonal. A pivot counts as at least `least`.
template <class Group, class R, class N>
BODVCL_CALL void inverse_factor(Group g, N n, R* a, R least, R* w) {
  place<Group>(a);
  place<Group>(w);
  const auto count = times(n, n);
  BODVCL_ROLLED
  for (int k = 0; k + 1 < n; ++k) {
    const R inverse = 1.0 / larger(a[k * n + k], least);
    // Row k is final. In the rows below, columns before k belong to the factor, those from i on to what is
    // left.
    const auto eliminate = [&](int i, int j) {
      const R factor = a[k * n + i] * inverse;
      if (j == k)
        a[i * n + j] = -factor;
      else
        a[i * n + j] -= factor * a[k * n + j];
    };
    if constexpr (Group::kSerial) {
      for (int i = k + 1; i < n; ++i) {
        for (int j = 0; j <= k; ++j) eliminate(i, j);
        for (int j = i; j < n; ++j) eliminate(i, j);
      }
    } else {
      each(g, count, [&](int e) {
        const int i = e / n, j = e % n;
        if (i > k && (j <= k || j >= i)) eliminate(i, j);
      });
    }
    g.sync();
  }
  assign(g, count, w, [&](int e) {
    const int i = e / n, j = e % n;
    const R scale = inverse_root(larger(a[j * n + j], least));
    return i > j ? R{} : i == j ? scale : a[j * n + i] * scale;
  });
  g.sync();
}

// Pair number t of a round in a round-robin tournament of m (even) players. Player m - 1 is in pair 0.
BODVCL_HD inline void tournament(int m, int round, int t, int& p, int& q) {
  const int a = t == 0 ? m - 1 : (round + t) % (m - 1);
  const int b = t == 0 ? round : (round - t + m - 1) % (m - 1);
  p = a < b ? a : b;
  q = a < b ? b : a;
}

constexpr int kJacobiSweeps = 40;
constexpr int kMaxPairs = 32;

BODVCL_HD constexpr int even(int n) { return n + (n & 1); }

// Both sides of one 2 x 2 block, rows (p, q) and columns (x, y), by two rotations.
template <class R>
BODVCL_HD inline void rotate_block(R* a, int m, int p, int q, int x, int y, R c, R s, R k, R z) {
  R& apx = p < x ? a[p * m + x] : a[x * m + p];
  R& apy = p < y ? a[p * m + y] : a[y * m + p];
  R& aqx = q < x ? a[q * m + x] : a[x * m + q];
  R& aqy = q < y ? a[q * m + y] : a[y * m + q];
  const R px = c * apx - s * aqx, qx = s * apx + c * aqx;
  const R py = c * apy - s * aqy, qy = s * apy + c * aqy;
  apx = k * px - z * py;
  apy = z * px + k * py;
  aqx = k * qx - z * qy;
  aqy = z * qx + k * qy;
}

// Elements begin..end-1 of two vectors of stride ld.
template <class R>
BODVCL_HD inline void rotate_vectors(R* p, R* q, int ld, int begin, int end, R c, R s) {
  for (int i = begin; i < end; ++i) {
    const R vp = p[i * ld], vq = q[i * ld];
    p[i * ld] = c * vp - s * vq;
    q[i * ld] = s * vp + c * vq;
  }
}

// v <- eigenvectors (columns), lam <- eigenvalues (any order) of the symmetric
// matrix whose upper triangle is in a (ld = even(n); if n is odd the last row and
// column are zero). a is destroyed. Jacobi with disjoint rotations in each round;
// a pair whose entry is already zero is never mixed. `work`: even(n) numbers.
template <class Group, class R, class N>
BODVCL_CALL void eigen_symmetric(Group g, N n, R* a, R* v, R* lam, R* work) {
  place<Group>(a);
  place<Group>(v);
  place<Group>(lam);
  place<Group>(work);
  const int m = even(n), half = m / 2;
  R* const cosine = work;
  R* const sine = work + half;
  each(g, n * n, [&](int e) { v[e] = fill<R>(e / n == e % n ? 1.0 : 0.0); });
  g.sync();
  R trace{};
  for (int i = 0; i < n; ++i) trace += a[i * m + i];
  const R small = 1e-20 * trace;
  g.sync();
  for (int sweep = 0; sweep < kJacobiSweeps; ++sweep) {
    mask_t<R> moved = trace != trace;
    BODVCL_ROLLED
    for (int round = 0; round < m - 1; ++round) {
      each(g, half, [&](int t) {
        int p, q;
        tournament(m, round, t, p, q);
        const R app = a[p * m + p], aqq = a[q * m + q], apq = a[p * m + q];
        const mask_t<R> turn = (apq * apq > 1e-32 * absolute(app * aqq)) & (absolute(apq) > small);
        // With h = |(d, b)|: cos 2x = |d| / h, so c^2 = (1 + |d| / h) / 2 and s c = b / (2 h).
        const R d = aqq - app, b = 2.0 * apq;
        const R inverse = inverse_root(sel(turn, d * d + b * b, fill<R>(1.0)));
        const R square = sel(turn, 0.5 + 0.5 * absolute(d) * inverse, fill<R>(1.0));
        const R over = inverse_root(square);
        const R product = sel(turn, 0.5 * sel(d < 0, -b, b) * inverse, R{});
        const R tangent = product * over * over;
        moved = moved | (turn & (absolute(tangent) > 1e-8));
        cosine[t] = square * over;
        sine[t] = product * over;
        a[p * m + p] = app - tangent * apq;
        a[q * m + q] = aqq + tangent * apq;
        a[p * m + q] = sel(turn, R{}, apq);
      });
      g.sync();
      // The 2 x 2 blocks off the diagonal, upper triangle only, then the vectors.
      const int blocks = half * (half - 1) / 2;
      if constexpr (Group::kSerial) {
        int first[kMaxPairs], second[kMaxPairs];
        bool turns[kMaxPairs];
        for (int t = 0; t < half; ++t) {
          tournament(m, round, t, first[t], second[t]);
          turns[t] = any_of(sine[t] != 0.0);
        }
        for (int t = 0; t < half; ++t) {
          const R c = cosine[t], s = sine[t];
          for (int u = t + 1; u < half; ++u)
            if (turns[t] || turns[u])
              rotate_block(a, m, first[t], second[t], first[u], second[u], c, s, cosine[u], sine[u]);
          if (turns[t]) rotate_vectors(v + first[t], v + second[t], n, 0, n, c, s);
        }
      } else {
        const int skipped = n % 2;  // pair 0 of an odd n has no second vector
        each(g, blocks + (half - skipped) * n, [&](int e) {
          int p, q, x, y;
          if (e < blocks) {
            int t = 0, left = e;
            while (left >= half - 1 - t) left -= half - 1 - t++;
            const int u = t + 1 + left;
            tournament(m, round, t, p, q);
            tournament(m, round, u, x, y);
            rotate_block(a, m, p, q, x, y, cosine[t], sine[t], cosine[u], sine[u]);
          } else {
            const int t = (e - blocks) / n + skipped, i = (e - blocks) % n;
            tournament(m, round, t, p, q);
            rotate_vectors(v + p, v + q, n, i, i + 1, cosine[t], sine[t]);
          }
        });
      }
      g.sync();
    }
    // Turns below 1e-8 leave second-order entries: nothing is left for another sweep.
    if (!g.any(any_of(moved))) break;
  }
  each(g, n, [&](int i) { lam[i] = a[i * m + i]; });
  g.sync();
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
