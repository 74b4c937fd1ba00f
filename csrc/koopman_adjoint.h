// The exact adjoint of the split and of the losses of koopman_forward.h: gradients
// of the frames as mixes of the frames, in the same whitened coordinates.
#pragma once

#include "koopman_forward.h"

namespace bodvcl {
namespace BODVCL_ISA {

// b_bar += adjoint of N = f(B) (Daleckii-Krein at constant rank) for the whitened cotangent x; to_ridge <-
// the part through mu, of which mu_bar is known already.
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::through_inverse(R mu_bar) {
  if (problem.ridged) {
    R through{};
    each(g, n2, [&](int e) {
      through -= x[e] * spread[e];
      b_bar[e] -= x[e];
    });
    mu_bar += g.sum(through);
  } else {
    R top{};
    for (int i = 0; i < n; ++i) {
      top = larger(top, lam[i]);
      mu_bar -= keep[i] * x[i * n + i] / s2[i];
    }
    each(g, n2, [&](int e) { b_bar[e] += x[e] * inverse_slope(e / n, e % n, top, s2[e / n], s2[e % n]); });
  }
  to_ridge = mu_bar * problem.ridge / safe_pairs();
  g.sync();
}

// -1 between kept directions; for a kept and a dropped one s2 of the dropped over the gap.
template <class Group, class R, class T>
BODVCL_HD inline R Clip<Group, R, T>::inverse_slope(int i, int j, R top, R si, R sj) const {
  const R inside = keep[i] * keep[j], across = keep[i] + keep[j] - 2.0 * inside;
  const R gap = sel(keep[i] > 0, lam[i] - lam[j], lam[j] - lam[i]);
  const mask_t<R> open = (across > 0) & (gap > 1e-15 * top);
  return sel(open, sel(keep[i] > 0, sj, si) / sel(open, gap, fill<R>(1.0)), R{}) - inside;
}

// mix <- gram_bar + gram_bar' for
//   gram_bar = [W b_bar W' + to_ridge at (past, past)] + [W other W' at (row, 1)].
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::to_frames(R* mix, R* other, int row) {
  R* const temp = work;
  R* const raw = work + n2;
  each(g, t * t, [&](int e) { raw[e] = e / t == e % t && e / t < n ? pairs[e / t] * to_ridge : R{}; });
  g.sync();
  mul(mat(whiten), mat(b_bar), mat(temp));
  mul(mat(temp), mat(whiten).t(), square(raw, t), true);
  mul(mat(whiten), mat(other), mat(temp));
  mul(mat(temp), mat(whiten).t(), square(raw + row * t + 1, t), true);
  each(g, t * t, [&](int e) { mix[e] = raw[e] + raw[e % t * t + e / t]; });
  g.sync();
}

// c_bar <- cotangent of the reduced operator, from that of h.
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::through_mask() {
  if (problem.smooth) {
    smooth_adjoint(g, n, problem.smooth_log2, problem.projector, powers, sums, h_bar, c_bar, work);
  } else if (!problem.projector) {
    projector_adjoint(g, n, reduced, keep, radius, projector, h_bar, c_bar, work);
  } else {
    // dh = J dp - J da h - J (at - 1) dp h with J = (at p + 1 - p)^-1.
    divide_projector();
    R *inverse = work, *one = work + n2, *two = work + 2 * n2;
    mul(mat(inverse).t(), mat(h_bar), mat(one));
    mul(mat(one), mat(h).t(), mat(two));
    copy(g, two, x, n2);
    mul(mat(reduced).t(), mat(two), mat(h_bar));
    each(g, n2, [&](int e) { h_bar[e] = one[e] - h_bar[e] + two[e]; });
    g.sync();
    projector_adjoint(g, n, reduced, keep, radius, projector, h_bar, c_bar, work);
    each(g, n2, [&](int e) { c_bar[e] -= x[e]; });
    g.sync();
  }
  each(g, n2, [&](int e) { c_bar[e] *= keep[e / n] * keep[e % n]; });
  g.sync();
}

// For the spread, whose static_dots are those of one cotangent, n numbers, and whose dynamic_dots are those of
// the scaled frames: the dots with the cotangents of every frame, and the curve. The deviations add up to zero
// over the frames, and so do their cotangents: that the mean was taken off changes no dot of the dynamic
// stream.
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::spread_dots() {
  const R share = 1.0 / larger(frame_count, fill<R>(1.0));
  each(g, n, [&](int i) { work[i] = share * static_dots[i]; });
  g.sync();
  each(g, n * q, [&](int e) { static_dots[e] = frames[e % q] * work[e / q]; });
  g.sync();
  // The cotangent of a frame's dynamic part is a mix of the scaled frames, like the part itself.
  product(g, n, t, t, square(dynamic_dots, t), square(dynamic_coef, t).t(), square(work, t));
  copy(g, work, dynamic_dots, times(n, t));
  product(g, t, t, t, square(dynamic_coef, t).t(), square(dynamic_coef, t), square(curve, t));
}

// split_mix, from static_dots and dynamic_dots (which are overwritten).
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::backward_split() {
  R *toward = static_dots, *rest = dynamic_dots, *r_bar = static_weights, *scratch = dynamic_weights;
  each(g, n * q, [&](int e) {
    const R valid = problem.per_frame ? frames[e % q] : fill<R>(1.0);
    const R a = sel(valid > 0, static_dots[e], R{}), m = sel(valid > 0, dynamic_dots[e], R{});
    scratch[e] = a - m;
    r_bar[e] = m;
  });
  g.sync();
  mul_columns(mat(whiten).t(), columns(scratch), columns(toward));
  mul_columns(mat(whiten).t(), columns(r_bar), columns(rest));
  const double plain = problem.projector ? 0.0 : 1.0;  // does the dynamic stream hold the whole of r?
  each(g, n * q, [&](int e) { scratch[e] = keep[e / q] * toward[e]; });
  g.sync();
  mul_columns(mat(h).t(), columns(scratch), columns(r_bar));
  each(g, n * q, [&](int e) { r_bar[e] += plain * keep[e / q] * rest[e]; });
  product(g, n, n, q, columns(scratch), columns(r).t(), mat(h_bar));
  through_mask();

  // x: cotangent of N in whitened coordinates, symmetric; kept directions move by halves.
  R* const delta = work;
  mul(mat(cw), mat(c_bar).t(), mat(delta));
  mul(mat(cw).t(), mat(c_bar), mat(delta), true);
  product(g, n, n, q, columns(toward), columns(u).t(), mat(delta), true);
  product(g, n, n, q, columns(rw), columns(r_bar).t(), mat(delta), true);
  if (!problem.projector) product(g, n, n, q, columns(rest), columns(r).t(), mat(delta), true);
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    const R both = keep[j] * delta[e] + keep[i] * delta[j * n + i];
    x[e] = both * (0.5 - 0.25 * keep[i] * keep[j]);
    b_bar[e] = R{};
  });
  g.sync();
  through_inverse(R{});
  to_frames(split_mix, c_bar, 0);

  mul_columns(mat(whiten), columns(r_bar), columns(scratch));
  const R share = 1.0 / larger(frame_count, fill<R>(1.0));
  each(g, t * t, [&](int e) {
    const int i = e / t, j = e % t;
    R extra{};
    if (problem.per_frame) {
      if (i < n) extra += frames[j] * scratch[i * q + j];
      if (j < n) extra += frames[i] * scratch[j * q + i];
    } else {
      if (i < n) extra += frames[j] * share * scratch[i];
      if (j < n) extra += frames[i] * share * scratch[j];
    }
    split_mix[e] += extra;
  });
  g.sync();
}

// loss_mix, from the cotangents of the four losses.
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::backward_losses(const R* grads) {
  R* const d_bar = c_bar;
  R *a = work, *other = work + n2;
  R *diag = work + 3 * n2, *top = diag + n, *usable = top + n;
  const R per_entry = 1.0 / (problem.width * safe_pairs());
  const R mse = grads[0] * per_entry, orth = grads[1];

  // Held-out errors e_t = (H D H)_tt / H_tt^2: a = W' diag(slope) W, x = cotangent of H.
  held_out(diag, top, usable, a);
  each(g, n, [&](int i) {
    const R weight = usable[i] * (grads[2] * per_entry + is_last_pair(i) * grads[3] / double(problem.width));
    const R inverse = 1.0 / sel(usable[i] > 0, diag[i], fill<R>(1.0));
    diag[i] = weight * inverse * inverse;
    top[i] *= -2.0 * weight * inverse * inverse * inverse;
  });
  g.sync();
  each(g, n2, [&](int e) { other[e] = whiten[e] * diag[e / n]; });
  g.sync();
  mul(mat(whiten).t(), mat(other), mat(a));
  each(g, n2, [&](int e) {
    d_bar[e] = held_weight(e / n) * a[e] * held_weight(e % n);
    other[e] = held_weight(e / n) * a[e];
  });
  g.sync();
  mul(mat(dw), mat(other), mat(h_bar));
  each(g, n2, [&](int e) { other[e] = 0.5 * whiten[e] * top[e / n]; });
  g.sync();
  mul(mat(whiten).t(), mat(other), mat(h_bar), true);
  // For the dropped projector the slope of N is turned into its own: - s2 of the kept direction.
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    const R both = h_bar[e] + h_bar[j * n + i];
    const R across = keep[i] + keep[j] - 2.0 * keep[i] * keep[j];
    x[e] = both * sel(full, fill<R>(1.0), -across * sel(keep[i] > 0, s2[i], s2[j]));
    b_bar[e] = R{};
  });
  g.sync();

  R mu_bar{};
  if (problem.ridged)
    mu_bar = through_ridged_fit(mse, orth);
  else
    through_truncated_fit(mse, orth);
  through_inverse(mu_bar);
  to_frames(loss_mix, d_bar, 1);
}

// In-sample error and orthogonality where the ridge drops nothing: with G = W'W and P = W'B W = 1 - mu G,
//   mse = mu^2 tr(G J)   orthogonality = tr(P J P J) - 2 tr(P J)
// x, b_bar and c_bar (which holds the cotangent of D) take their share; returns that of mu.
template <class Group, class R, class T>
BODVCL_HD inline R Clip<Group, R, T>::through_ridged_fit(R mse, R orth) {
  R *a = work, *other = work + n2, *spare = work + 2 * n2, *d_bar = c_bar;
  fitted_future(other, a);  // a = J, other = P J
  mul(mat(other), mat(spread), mat(spare));
  each(g, n2, [&](int e) {
    // P J P - P
    const int i = e / n, j = e % n;
    const R fit = (i == j ? keep[i] : R{}) - mu * spread[e];
    const R slope = 2.0 * orth * (other[e] - mu * spare[e] - fit);
    h_bar[e] = slope;
    d_bar[e] += slope + mse * mu * (mu * spread[e]);
  });
  g.sync();
  mul(mat(a), mat(other), mat(spare));
  each(g, n2, [&](int e) { b_bar[e] += 2.0 * orth * (spare[e] - a[e]); });
  g.sync();
  mul(mat(h_bar), mat(a), mat(spare));
  R trace{};
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n, f = j * n + i;
    // mu G J = J - P J
    x[e] += spare[e] + spare[f] + mse * mu * (2.0 * a[e] - other[e] - other[f]);
    if (i == j) trace += a[e] - other[e];
  });
  return 2.0 * mse * g.sum(trace);
}

// The same for directions that are kept or dropped, with the fitted share f of each direction.
template <class Group, class R, class T>
BODVCL_HD inline void Clip<Group, R, T>::through_truncated_fit(R mse, R orth) {
  R *a = work, *other = work + n2, *spare = work + 2 * n2, *d_bar = c_bar;
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n;
    const R jt = future(i, j);
    const R slope = 2.0 * orth * (fitted(i) * jt * fitted(j) - (i == j ? fitted(i) : R{}));
    h_bar[e] = slope;
    d_bar[e] += keep[i] * keep[j] * slope;
    a[e] = jt;
    other[e] = fitted(i) * jt;
  });
  g.sync();
  mul(mat(a), mat(other), mat(spare));
  each(g, n2, [&](int e) {
    b_bar[e] += 2.0 * orth * (spare[e] - a[e]);
    other[e] = keep[e / n] * dw[e];
  });
  g.sync();
  mul(mat(h_bar), mat(other), mat(spare));

  // Residual of the fit; rho = 1 - f is what the operator misses of each direction.
  each(g, n2, [&](int e) {
    const int i = e / n, j = e % n, f = j * n + i;
    const R ri = 1.0 - fitted(i), rj = 1.0 - fitted(j);
    x[e] += spare[e] + spare[f] - mse * (dw[e] * rj * lam[j] + dw[f] * ri * lam[i]);
    b_bar[e] -= mse * (keep[i] * dw[e] * s2[j] * rj + keep[j] * dw[f] * s2[i] * ri);
    if (i == j) d_bar[e] += mse * s2[i] * ri * ri;
  });
  g.sync();
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
