// Functions of the reduced operator a (n x n, zero outside the kept space), and
// their adjoints: the spectral projector on |lambda - 1| < xi and the smooth mask
// ((1 + lambda) / 2)^p, each also in the form g(x) = (m(x) - m(0)) / x.
#pragma once

#include "small_matrix.h"

namespace bodvcl {
namespace BODVCL_ISA {

constexpr int kNewtonSteps = 24;
constexpr int kSmithSteps = 30;
constexpr double kIdempotent = 1e-8;

template <class Group, class R, class N>
BODVCL_HD inline void copy(Group g, const R* from, R* to, N count) {
  each(g, count, [&](int e) { to[e] = from[e]; });
  g.sync();
}

// p <- projector of a on the eigenvalues with |lambda - 1| < xi inside the kept
// space, or garbage where Newton's iteration does not converge; returns
// |p^2 - p| / max(1, |p|). The Cayley transform takes the disk to the left half
// plane, and p = (1 - sign) / 2. `x`, `y`: n^2 each; `work`: n^2 + n.
template <class Group, class R, class N>
BODVCL_CALL R newton_projector(Group g, N n, const R* a, const R* keep, R xi, R* p, R* x, R* y, R* work) {
  place<Group>(a);
  place<Group>(keep);
  place<Group>(p);
  place<Group>(x);
  place<Group>(y);
  const auto n2 = times(n, n);
  const R inverse_xi = 1.0 / xi;
  R kept{};
  for (int i = 0; i < n; ++i) kept += keep[i];
  // x = (w - 1)^-1 (w + 1) = 1 + 2 (w - 1)^-1 with w = (a - 1) / xi; dropped directions sit at 1, outside.
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    R w = a[e] * inverse_xi;
    if (i == j) w = sel(keep[i] > 0, w - inverse_xi - 1.0, fill<R>(1.0));
    x[e] = w;
  });
  g.sync();
  invert(g, n, x, x, work);
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    x[e] = 2.0 * x[e];
    if (i == j) x[e] = sel(keep[i] > 0, x[e] + 1.0, fill<R>(1.0));
  });
  g.sync();

  mask_t<R> active = kept > 0;
  for (int step = 0; step < kNewtonSteps && g.any(any_of(active)); ++step) {
    invert(g, n, x, y, work);
    R energy[2] = {};
    each(g, n2, [&](int e) {
      energy[0] += y[e] * y[e];
      energy[1] += x[e] * x[e];
    });
    g.sums(energy);
    const R scale = root(root(energy[0] / energy[1]));
    const R left = 0.5 * scale, right = 0.5 / scale;
    R change[2] = {};
    each(g, n2, [&](int e) {
      const R old = x[e], now = left * old + right * y[e];
      change[0] += (now - old) * (now - old);
      change[1] += now * now;
      x[e] = sel(active, now, old);
    });
    g.sums(change);
    active = active & not_of(change[0] <= 1e-20 * change[1]);
    g.sync();
  }

  R trace{};
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    const R one = fill<R>(i == j ? 0.5 : 0.0);
    p[e] = sel((keep[i] > 0) & (keep[j] > 0), one - 0.5 * x[e], R{});
  });
  g.sync();
  for (int i = 0; i < n; ++i) trace += p[i * n + i];
  // An empty or a full projector is known exactly: no rounding may leak from it.
  const mask_t<R> none = absolute(trace) < 0.5, all = absolute(trace - kept) < 0.5;
  g.sync();
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    p[e] = sel(none, R{}, sel(all, i == j ? keep[i] : R{}, p[e]));
  });
  g.sync();
  product(g, n, n, n, square(p, n), square(p, n), square(y, n));
  R sizes[2] = {};
  each(g, n2, [&](int e) {
    const R off = y[e] - p[e];
    sizes[0] += off * off;
    sizes[1] += p[e] * p[e];
  });
  g.sums(sizes);
  return root(sizes[0]) / larger(root(sizes[1]), fill<R>(1.0));
}

// p <- spectral projector; where an eigenvalue lies on the circle the radius is
// nudged by +2, -2, +5 %. radius: the xi used. `work`: 4 n^2 + n.
template <class Group, class R, class N>
BODVCL_HD inline R spectral_projector(
    Group g, N n, const R* a, const R* keep, double xi, R* p, R& radius, R* work) {
  const auto n2 = times(n, n);
  R* const x = work;
  R* const y = work + n2;
  R* const candidate = work + 2 * n2;
  R* const rest = work + 3 * n2;
  radius = fill<R>(xi);
  R residual = newton_projector(g, n, a, keep, radius, p, x, y, rest);
  residual = sel(residual == residual, residual, fill<R>(1e300));
  for (int attempt = 0; attempt < 3; ++attempt) {
    const mask_t<R> failed = residual > kIdempotent;
    if (!any_of(failed)) break;
    const R retry = fill<R>(xi * (attempt == 0 ? 1.02 : attempt == 1 ? 0.98 : 1.05));
    const R fresh = newton_projector(g, n, a, keep, retry, candidate, x, y, rest);
    const mask_t<R> better = failed & (fresh < residual);
    g.sync();
    each(g, n2, [&](int e) { p[e] = sel(better, candidate[e], p[e]); });
    residual = sel(better, fresh, residual);
    radius = sel(better, retry, radius);
    g.sync();
  }
  each(g, n2, [&](int e) { p[e] = sel(p[e] == p[e], p[e], R{}); });
  g.sync();
  return residual;
}

// y <- adjoint of the projector's derivative: the matrix with <y, da> = <pbar, dp>.
// Between the ranges of p and 1 - p this is a Sylvester equation. With w = (a - 1) / xi
// and s = (w p + w^-1 (1 - p))', both parts contract, and y = y0 + s y s + s^2 y s^2 + ...
// is summed by doubling. `work`: 5 n^2 + n.
template <class Group, class R, class N>
BODVCL_CALL void projector_adjoint(
    Group g, N n, const R* a, const R* keep, R radius, R* p, R* pbar, R* y, R* work) {
  place<Group>(a);
  place<Group>(keep);
  place<Group>(p);
  place<Group>(pbar);
  place<Group>(y);
  place<Group>(work);
  const auto n2 = times(n, n);
  R* const w = work;
  R* const wp = work + n2;
  R* const inverse = work + 2 * n2;
  R* const temp = work + 3 * n2;
  R* const rest = work + 4 * n2;
  const R inverse_xi = 1.0 / radius;
  const auto mat = [n](R* x) { return square(x, n); };
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    w[e] = a[e] * inverse_xi;
    if (i == j) w[e] = sel(keep[i] > 0, w[e] - inverse_xi, fill<R>(2.0));
  });
  g.sync();
  product(g, n, n, n, mat(w), mat(p), mat(wp));
  each(g, n2, [&](int e) { inverse[e] = w[e] - wp[e] + p[e]; });
  g.sync();
  invert(g, n, inverse, inverse, rest);
  // From here `inverse` is w^-1 on the range of 1 - p, and w is s.
  each(g, n2, [&](int e) { inverse[e] -= p[e]; });
  g.sync();
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    w[e] = wp[j * n + i] + inverse[j * n + i];
  });
  g.sync();

  // y0 = -(p' pbar (1 - p)' v + v (1 - p)' pbar p') / xi with v = inverse'.
  R* const one = wp;
  product(g, n, n, n, mat(p).t(), mat(pbar), mat(one));
  product(g, n, n, n, mat(one), mat(p).t(), mat(temp));
  each(g, n2, [&](int e) { one[e] -= temp[e]; });
  g.sync();
  product(g, n, n, n, mat(one), mat(inverse).t(), mat(y));
  product(g, n, n, n, mat(pbar), mat(p).t(), mat(one));
  each(g, n2, [&](int e) { one[e] -= temp[e]; });
  g.sync();
  product(g, n, n, n, mat(inverse).t(), mat(one), mat(y), true);
  each(g, n2, [&](int e) { y[e] *= -inverse_xi; });
  g.sync();

  R* s = w;
  R* next = inverse;
  mask_t<R> active = radius > 0;
  for (int step = 0; step < kSmithSteps; ++step) {
    product(g, n, n, n, mat(s), mat(y), mat(temp));
    product(g, n, n, n, mat(temp), mat(s), mat(one));
    R change[2] = {};
    each(g, n2, [&](int e) {
      change[0] += one[e] * one[e];
      y[e] += sel(active, one[e], R{});
      change[1] += y[e] * y[e];
    });
    g.sums(change);
    active = active & not_of(change[0] <= 1e-26 * change[1]);
    if (!g.any(any_of(active))) break;
    product(g, n, n, n, mat(s), mat(s), mat(next));
    R* const swap = s;
    s = next;
    next = swap;
  }
  g.sync();
}

// Powers b_i = 2^-(2^i) of the smooth mask at 0.
BODVCL_HD inline double half_power(int i) {
  double b = 0.5;
  for (int k = 0; k < i; ++k) b *= b;
  return b;
}

// The smooth mask by squaring. powers: log2 + 1 matrices a_i = ((1 + a) / 2)^(2^i);
// sums: log2 + 1 matrices, the partial products of g = 1/2 prod_i (a_i + b_i).
template <class Group, class R, class N>
BODVCL_CALL void smooth_mask(
    Group g, N n, int log2, const R* a, const R* keep, bool with_sums, R* powers, R* sums) {
  place<Group>(a);
  place<Group>(keep);
  place<Group>(powers);
  if (with_sums) place<Group>(sums);
  const auto n2 = times(n, n);
  each(g, n2, [&](int e) {
    const R half = e / n == e % n ? 0.5 * keep[e / n] : R{};
    powers[e] = 0.5 * a[e] + half;
    if (with_sums) sums[e] = half;
  });
  g.sync();
  double b = 0.5;
  for (int i = 0; i < log2; ++i) {
    R* const power = powers + i * n2;
    product(g, n, n, n, square(power, n), square(power, n), square(power + n2, n));
    if (with_sums) {
      R* const sum = sums + i * n2;
      each(g, n2, [&](int e) { sum[n2 + e] = b * sum[e]; });
      g.sync();
      product(g, n, n, n, square(sum, n), square(power, n), square(sum + n2, n), true);
    }
    b *= b;
  }
}

// abar <- adjoint of smooth_mask: hbar is the cotangent of the last power or, with
// sums, of the last sum; destroyed. `work`: 2 n^2.
template <class Group, class R, class N>
BODVCL_CALL void smooth_adjoint(
    Group g, N n, int log2, bool with_sums, R* powers, R* sums, R* hbar, R* abar, R* work) {
  place<Group>(powers);
  if (with_sums) place<Group>(sums);
  place<Group>(hbar);
  place<Group>(abar);
  place<Group>(work);
  const auto n2 = times(n, n);
  const auto mat = [n](R* x) { return square(x, n); };
  each(g, n2, [&](int e) { abar[e] = with_sums ? R{} : hbar[e]; });
  g.sync();
  for (int i = log2 - 1; i >= 0; --i) {
    R* const power = powers + i * n2;
    R* const fresh = work;
    product(g, n, n, n, mat(abar), mat(power).t(), mat(fresh));
    product(g, n, n, n, mat(power).t(), mat(abar), mat(fresh), true);
    if (with_sums) {
      product(g, n, n, n, mat(sums + i * n2).t(), mat(hbar), mat(fresh), true);
      R* const carried = work + n2;
      const double b = half_power(i);
      each(g, n2, [&](int e) { carried[e] = b * hbar[e]; });
      g.sync();
      product(g, n, n, n, mat(hbar), mat(power).t(), mat(carried), true);
      copy(g, carried, hbar, n2);
    }
    copy(g, fresh, abar, n2);
  }
  each(g, n2, [&](int e) { abar[e] *= 0.5; });
  g.sync();
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
