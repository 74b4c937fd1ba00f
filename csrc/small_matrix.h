// Dense algebra on n x n matrices, n < 64: product, inverse, symmetric
// eigen-decomposition. Every function ends synchronised.
#pragma once

#include "group.h"

namespace bodvcl {
namespace BODVCL_ISA {

// A matrix in memory, by row and column stride; t() is the transpose.
template <class R>
struct View {
  R* p;
  int rs, cs;
  BODVCL_HD R& operator()(int i, int j) const { return p[i * rs + j * cs]; }
  BODVCL_HD View t() const { return {p, cs, rs}; }
};

template <class R, int kRows, int kCols>
inline void product_tile(View<R> a, View<R> b, View<R> c, int i, int j, int inner, bool add) {
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

template <class R, int kRows>
inline void product_rows(View<R> a, View<R> b, View<R> c, int i, int cols, int inner, bool add) {
  int j = 0;
  for (; j + 4 <= cols; j += 4) product_tile<R, kRows, 4>(a, b, c, i, j, inner, add);
  switch (cols - j) {
    case 3: product_tile<R, kRows, 3>(a, b, c, i, j, inner, add); break;
    case 2: product_tile<R, kRows, 2>(a, b, c, i, j, inner, add); break;
    case 1: product_tile<R, kRows, 1>(a, b, c, i, j, inner, add); break;
    default: break;
  }
}

// c = a b, or c += a b. c must not overlap a or b.
template <class Group, class R>
BODVCL_CALL void product(
    Group g, int rows, int cols, int inner, View<R> a, View<R> b, View<R> c, bool add = false) {
  if constexpr (Group::kSerial) {
    constexpr int kTile = BODVCL_LANES == 8 ? 4 : 2;  // what fits the vector registers
    int i = 0;
    for (; i + kTile <= rows; i += kTile) product_rows<R, kTile>(a, b, c, i, cols, inner, add);
    switch (rows - i) {
      case 3: product_rows<R, 3>(a, b, c, i, cols, inner, add); break;
      case 2: product_rows<R, 2>(a, b, c, i, cols, inner, add); break;
      case 1: product_rows<R, 1>(a, b, c, i, cols, inner, add); break;
      default: break;
    }
  } else {
    each(g, rows * cols, [&](int e) {
      const int i = e / cols, j = e % cols;
      R acc = add ? c(i, j) : R{};
      for (int k = 0; k < inner; ++k) acc += a(i, k) * b(k, j);
      c(i, j) = acc;
    });
    g.sync();
  }
}

template <class R>
BODVCL_HD inline R reciprocal_pivot(R pivot) {
  return 1.0 / sel(pivot == 0, fill<R>(1e-200), pivot);
}

// Row of the largest |a[i][k]|, i >= k, as a number per clip.
template <class R>
BODVCL_HD inline R pivot_row(const R* a, int n, int k) {
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
template <class Group, class R>
BODVCL_HD inline void exchange(Group g, mask_t<R> m, R* x, R* y, int n, int stride) {
  each(g, n, [&](int j) {
    const R u = x[j * stride], v = y[j * stride];
    x[j * stride] = sel(m, v, u);
    y[j * stride] = sel(m, u, v);
  });
}

// a <- a^-1 in place: Gauss-Jordan with partial pivoting. `work`: 3 n numbers.
// A zero pivot gives a huge, not an infinite, inverse.
template <class Group, class R>
BODVCL_CALL void invert(Group g, int n, R* a, R* work) {
  R* const pivots = work;
  R* const row = work + n;
  R* const column = work + 2 * n;
  for (int k = 0; k < n; ++k) {
    const R best = pivot_row(a, n, k);
    g.sync();
    for (int i = k + 1; i < n; ++i) {
      const mask_t<R> m = best == i;
      if (any_of(m)) exchange(g, m, a + k * n, a + i * n, n, 1);
    }
    if (g.lane() == 0) pivots[k] = best;
    g.sync();
    const R inverse = reciprocal_pivot(a[k * n + k]);
    if constexpr (Group::kSerial) {
      R* const top = a + k * n;
      top[k] = fill<R>(1.0);
      for (int j = 0; j < n; ++j) top[j] *= inverse;
      for (int i = 0; i < n; ++i) {
        if (i == k) continue;
        R* const low = a + i * n;
        const R factor = low[k];
        low[k] = R{};
        for (int j = 0; j < n; ++j) low[j] -= factor * top[j];
      }
    } else {
      each(g, n, [&](int i) {
        row[i] = i == k ? inverse : a[k * n + i] * inverse;
        column[i] = a[i * n + k];
      });
      g.sync();
      each(g, n * n, [&](int e) {
        const int i = e / n, j = e % n;
        const R old = j == k ? R{} : a[e];
        a[e] = i == k ? row[j] : old - column[i] * row[j];
      });
      g.sync();
    }
  }
  for (int k = n - 1; k >= 0; --k) {
    for (int i = k + 1; i < n; ++i) {
      const mask_t<R> m = pivots[k] == i;
      if (any_of(m)) exchange(g, m, a + k, a + i, n, n);
    }
    g.sync();
  }
}

// Pair number t of a round in a round-robin tournament of m (even) players.
BODVCL_HD inline void tournament(int m, int round, int t, int& p, int& q) {
  const int a = t == 0 ? m - 1 : (round + t) % (m - 1);
  const int b = t == 0 ? round : (round - t + m - 1) % (m - 1);
  p = a < b ? a : b;
  q = a < b ? b : a;
}

constexpr int kJacobiSweeps = 40;
constexpr int kMaxPairs = 32;

BODVCL_HD inline int even(int n) { return n + (n & 1); }

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
template <class Group, class R>
BODVCL_CALL void eigen_symmetric(Group g, int n, R* a, R* v, R* lam, R* work) {
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
    for (int round = 0; round < m - 1; ++round) {
      each(g, half, [&](int t) {
        int p, q;
        tournament(m, round, t, p, q);
        const R app = a[p * m + p], aqq = a[q * m + q], apq = a[p * m + q];
        const mask_t<R> turn = (apq * apq > 1e-32 * absolute(app * aqq)) & (absolute(apq) > small);
        moved = moved | turn;
        const R d = aqq - app, b = 2.0 * apq;
        const R far = absolute(d) + root(d * d + b * b);
        const R tangent = sel(turn, sel(d < 0, -b, b) / sel(turn, far, fill<R>(1.0)), R{});
        const R c = 1.0 / root(1.0 + tangent * tangent);
        cosine[t] = c;
        sine[t] = tangent * c;
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
        each(g, blocks + half * n, [&](int e) {
          int p, q, x, y;
          if (e < blocks) {
            int t = 0, left = e;
            while (left >= half - 1 - t) left -= half - 1 - t++;
            const int u = t + 1 + left;
            tournament(m, round, t, p, q);
            tournament(m, round, u, x, y);
            rotate_block(a, m, p, q, x, y, cosine[t], sine[t], cosine[u], sine[u]);
          } else {
            const int t = (e - blocks) / n, i = (e - blocks) % n;
            tournament(m, round, t, p, q);
            if (q < n) rotate_vectors(v + p, v + q, n, i, i + 1, cosine[t], sine[t]);
          }
        });
      }
      g.sync();
    }
    if (!g.any(any_of(moved))) break;
  }
  each(g, n, [&](int i) { lam[i] = a[i * m + i]; });
  g.sync();
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
