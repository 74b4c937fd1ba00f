// The Koopman split and the prediction losses of one clip (or of one pack of
// clips), from its Gram matrix. The exact adjoint is in koopman_adjoint.h.
//
// With frames as columns, F (M x T), Fb = F[:, :-1], Ff = F[:, 1:], n = T - 1:
//   B = Fb'Fb   C = Fb'Ff   D = Ff'Ff   R = Fb' mean(F), or Fb' F per frame
//   W'(B + mu) W = 1 on the kept directions: W = V diag((lam + mu)^-1/2) from B = V diag(lam) V', or,
//   where no direction can be dropped, the inverse Cholesky factor of B + mu. Every formula holds for either.
//   At = W_k' C W_k      reduced operator, zero on the dropped directions
//   r = W_k' R,  h = m(At) or g(At),  Z_A = alpha f + Ff W h r                      (Eq. 21)
// Everything is kept in the coordinates of W. Directions of an invalid pair have a
// zero column in V, so that no other formula has to know about the frame mask.
#pragma once

#include "problem.h"
#include "spectral.h"

namespace bodvcl {
namespace BODVCL_ISA {

constexpr double kSmallestPivot = 1e-30;  // of a matrix of trace 1, without a ridge
constexpr double kLargestInverse = 1e10;  // trace of the inverse up to which the Cholesky factor is taken

template <class R>
class Arena {
 public:
  BODVCL_HD explicit Arena(R* base) : base_(base), used_(0) {}
  BODVCL_HD R* take(int count) {
    R* const p = base_ + used_;
    used_ += count;
    return p;
  }
  BODVCL_HD int used() const { return used_; }

 private:
  R* base_;
  int used_;
};

// The gain of a clip's gradient: sqrt(T) |dF| / |(g_static, g_dynamic)| from the squared norms.
BODVCL_HD inline double gain_of(double frames, double outgoing, double incoming) {
  return incoming > 0.0 ? root(frames * outgoing / incoming) : 0.0;
}
// What the guard scales the split's gradient with.
BODVCL_HD inline double guard_factor(const Problem& p, double gain) {
  return p.max_gain > 0.0 && gain > p.max_gain ? p.max_gain / gain : 1.0;
}

// The standard deviation of a feature's dynamic part, from its variance and from the mean square of the
// feature itself: exactly 0 where only rounding makes a difference. NaN stays NaN.
template <class R>
BODVCL_HD inline R spread_of(R variance, R mean_square) {
  return sel(variance <= kNoSpread * mean_square, R{}, root(variance));
}

// Its derivative in the deviation of a frame, over that deviation, times grad / frames; 0 where it is 0.
template <class R>
BODVCL_HD inline R spread_slope(R grad_share, R spread) {
  return sel(spread <= 0.0, R{}, grad_share / spread);
}

// Frames, pairs, pairs^2 and columns of R: as numbers, or as types where a kernel is compiled for one
// number of frames (and for one column: pool="mean").
template <class T>
struct Sizes {
  int t, n, n2, q;
  BODVCL_HD explicit Sizes(const Problem& p) : t(p.frames), n(t - 1), n2(n * n), q(p.per_frame ? t : 1) {}
};
template <int kT>
struct Sizes<Fixed<kT>> {
  Fixed<kT> t;
  Fixed<kT - 1> n;
  Fixed<(kT - 1) * (kT - 1)> n2;
  Fixed<1> q;
  BODVCL_HD explicit Sizes(const Problem&) {}
};

template <class Group, class R, class T = int>
struct Clip : Sizes<T> {
  using Sizes<T>::t;
  using Sizes<T>::n;
  using Sizes<T>::n2;
  using Sizes<T>::q;
  Group g;
  const Problem& problem;

  // Inputs: Gram matrix (t x t, zero in invalid frames) and validity of each frame as 0 or 1.
  R *gram, *frames;
  // Saved for the backward pass.
  R *vectors, *lam, *projector;
  R radius;
  // Derived from them.
  R *pairs, *keep, *s2, *whiten, *cw, *dw, *reduced, *rw, *r, *h, *u, *static_weights, *dynamic_weights;
  R* spread;  // W'W, with a ridge that drops nothing
  R pair_count, frame_count, rank, mu;
  R to_ridge;      // cotangent of mu, times what mu is of the trace of B
  mask_t<R> full;  // nothing was dropped: leave-one-out uses N, else the dropped projector
  // Outputs of forward: rows of coefficients over frames, q x t; of the spread, one row for the static stream.
  R *static_coef, *dynamic_coef;
  R losses[kLosses], stats[kStats];
  // Backward only.
  R *static_dots, *dynamic_dots;  // inputs, n x q: Ff' grad
  R *split_mix, *loss_mix;        // outputs, t x t: gradient of frame i as a mix of frames
  R *b_bar, *c_bar, *x, *h_bar;
  R* curve;  // of the spread, t x t: dynamic_coef' dynamic_coef
  R *powers, *sums, *work;

  BODVCL_HD Clip(Group group, const Problem& p) : Sizes<T>(p), g(group), problem(p) {}

  // Pointers into `base`; the number of R that they need. `base` may be null to count.
  BODVCL_HD int layout(R* base, bool backward) {
    Arena<R> arena(base);
    gram = arena.take(t * t);
    frames = arena.take(t);
    vectors = arena.take(n2);
    lam = arena.take(n);
    projector = arena.take(problem.smooth ? 0 : n2);
    pairs = arena.take(n);
    keep = arena.take(n);
    s2 = arena.take(n);
    whiten = arena.take(n2);
    cw = arena.take(n2);
    dw = arena.take(n2);
    spread = arena.take(problem.ridged ? n2 : 0);
    reduced = arena.take(n2);
    rw = arena.take(n * q);
    r = arena.take(n * q);
    u = arena.take(n * q);
    static_weights = arena.take(n * q);
    dynamic_weights = arena.take(n * q);
    static_coef = arena.take(q * t);
    dynamic_coef = arena.take(q * t);
    const int mats = problem.smooth_log2 + 1;
    powers = arena.take(problem.smooth ? mats * n2 : 0);
    sums = arena.take(problem.smooth && problem.projector ? mats * n2 : 0);
    h = problem.smooth      ? (problem.projector ? sums : powers) + (mats - 1) * n2
        : problem.projector ? arena.take(n2)
                            : projector;
    if (backward) {
      static_dots = arena.take(n * q);
      dynamic_dots = arena.take(n * q);
      split_mix = arena.take(t * t);
      loss_mix = arena.take(t * t);
      b_bar = arena.take(n2);
      c_bar = arena.take(n2);
      x = arena.take(n2);
      h_bar = arena.take(n2);
      curve = arena.take(spreads() ? t * t : 0);
    }
    const int eigen = even(n) * (even(n) + 2) + n2, functions = 5 * n2 + 3 * n;
    work = arena.take(eigen > functions ? eigen : functions);
    return arena.used();
  }

  // Kernels that are compiled for one number of frames serve the mean frame only.
  BODVCL_HD bool spreads() const { return kKnown<T> == 0 && problem.spread; }
  BODVCL_HD int streams() const { return kKnown<T> == 0 ? stream_rows(problem) : 1; }

  BODVCL_HD auto mat(R* p) const { return square(p, n); }
  BODVCL_HD auto columns(R* p) const { return square(p, q); }
  BODVCL_HD auto gram_c() const { return square(gram + 1, t); }
  BODVCL_HD auto gram_d() const { return square(gram + t + 1, t); }
  template <class A, class B, class C>
  BODVCL_HD void mul(A a, B b, C c, bool add = false) const {
    product(g, n, n, n, a, b, c, add);
  }
  template <class A, class B, class C>
  BODVCL_HD void mul_columns(A a, B b, C c, bool add = false) const {
    product(g, n, q, n, a, b, c, add);
  }
  BODVCL_HD R safe_pairs() const { return larger(pair_count, fill<R>(1.0)); }

  // --- forward -------------------------------------------------------------------

  BODVCL_HD void count_frames() {
    each(g, n, [&](int i) { pairs[i] = frames[i] * frames[i + 1]; });
    g.sync();
    pair_count = R{};
    frame_count = frames[n];
    for (int i = 0; i < n; ++i) {
      pair_count += pairs[i];
      frame_count += frames[i];
    }
  }

  // work <- scale (B + mu) on the valid pairs, the identity on the others, with rows of `stride` numbers.
  BODVCL_HD void scaled_gram(int stride, R scale, R ridge, R elsewhere) {
    each(g, stride * stride, [&](int e) {
      const int i = e / stride, j = e % stride;
      R x = i < n && j < n ? pairs[i] * pairs[j] * scale * gram[i * t + j] : R{};
      if (i == j && i < n) x += pairs[i] * ridge + (1.0 - pairs[i]) * elsewhere;
      work[e] = x;
    });
    g.sync();
  }

  // vectors, lam <- vectors'B vectors = diag(lam), or vectors'(B + mu)vectors = diag(lam) where the ridge
  // drops nothing. B is scaled to trace 1: no overflow. The Cholesky factor serves every clip whose
  // directions are all kept for sure; only the others need the eigenvectors.
  BODVCL_HD void decompose() {
    R trace{};
    for (int i = 0; i < n; ++i) trace += pairs[i] * gram[i * t + i];
    const mask_t<R> zero = not_of(trace > 0);
    const R scale = sel(zero, R{}, 1.0 / sel(zero, fill<R>(1.0), trace));
    mask_t<R> settled = zero & not_of(zero);
    if (problem.rank == 0 && (problem.ridged || problem.ridge == 0)) {
      const R least = fill<R>(problem.ridged ? problem.ridge : kSmallestPivot) / safe_pairs();
      scaled_gram(n, scale, sel(zero, fill<R>(1.0), problem.ridged ? least : R{}), fill<R>(1.0));
      inverse_factor(g, n, work, least, vectors);
      R size{};
      each(g, n2, [&](int e) {
        vectors[e] *= pairs[e % n];
        size += vectors[e] * vectors[e];
      });
      size = g.sum(size);
      // No eigenvalue is below 1 / size, and the cut is at most rtol^2.
      settled = zero | (fill<R>(problem.ridged ? 1.0 : 0.0) > 0) |
          ((size < kLargestInverse) & (problem.rtol * problem.rtol * size < 1.0));
      each(g, n, [&](int i) { lam[i] = sel(zero, R{}, trace); });
      g.sync();
    }
    if (!any_of(not_of(settled))) return;
    const int m = even(n);
    R *basis = work + m * (m + 1), *values = basis + n2;
    scaled_gram(m, scale, R{}, R{});
    eigen_symmetric(g, n, work, basis, values, work + m * m);
    each(g, n, [&](int i) { lam[i] = sel(settled, lam[i], larger(values[i], R{}) * trace); });
    each(g, n2, [&](int e) { vectors[e] = sel(settled, vectors[e], pairs[e % n] * basis[e]); });
    g.sync();
  }

  // Which directions are kept, and everything in the whitened coordinates.
  BODVCL_HD void whitened() {
    R trace{}, top{};
    for (int i = 0; i < n; ++i) {
      trace += pairs[i] * gram[i * t + i];
      top = larger(top, lam[i]);
    }
    mu = problem.ridge * trace / safe_pairs();
    const R beyond = problem.ridged ? R{} : mu;  // else lam holds it already
    const R cut = problem.ridge > 0 ? R{} : problem.rtol * problem.rtol * top;
    const R dropped = sel(top > 0, top + beyond, fill<R>(1.0));
    each(g, n, [&](int i) {
      const R full_scale = lam[i] + beyond;
      mask_t<R> kept = (pairs[i] > 0) & (full_scale > cut) & (full_scale > 0);
      if (problem.rank > 0) {
        R ahead{};
        for (int j = 0; j < n; ++j) {
          const mask_t<R> before = (lam[j] > lam[i]) | ((lam[j] == lam[i]) & (fill<R>(j < i ? 1 : 0) > 0));
          ahead += sel(before & (pairs[j] > 0), fill<R>(1.0), R{});
        }
        kept = kept & (ahead < problem.rank);
      }
      keep[i] = sel(kept, fill<R>(1.0), R{});
      s2[i] = sel(kept, full_scale, dropped);
    });
    g.sync();
    rank = R{};
    for (int i = 0; i < n; ++i) rank += keep[i];
    full = (rank == pair_count) | (fill<R>(problem.ridge > 0 && problem.rank == 0 ? 1 : 0) > 0);
    each(g, n2, [&](int e) { whiten[e] = vectors[e] * inverse_root(s2[e % n]); });
    g.sync();

    mul(gram_c(), mat(whiten), mat(work));
    mul(gram_d(), mat(whiten), mat(work + n2));
    mul(mat(whiten).t(), mat(work), mat(cw));
    mul(mat(whiten).t(), mat(work + n2), mat(dw));
    if (problem.ridged) mul(mat(whiten).t(), mat(whiten), mat(spread));
    if (problem.per_frame) {
      product(g, n, t, n, mat(whiten).t(), square(gram, t), square(rw, t));
    } else {
      R* const mean = work;
      const R share = 1.0 / larger(frame_count, fill<R>(1.0));
      each(g, n, [&](int i) {
        R s{};
        for (int j = 0; j < t; ++j) s += gram[i * t + j];
        mean[i] = s * share;
      });
      g.sync();
      mul_columns(mat(whiten).t(), columns(mean), columns(rw));
    }
    each(g, n * q, [&](int e) { r[e] = keep[e / q] * rw[e]; });
    each(g, n2, [&](int e) { reduced[e] = keep[e / n] * keep[e % n] * cw[e]; });
    g.sync();
  }

  // h <- (at p + 1 - p)^-1 p, the projector divided by its eigenvalues; `inverse` is left in work.
  BODVCL_HD void divide_projector() {
    R* const inverse = work;
    mul(mat(reduced), mat(projector), mat(inverse));
    each(g, n2, [&](int e) { inverse[e] += (e / n == e % n ? 1.0 : 0.0) - projector[e]; });
    g.sync();
    invert(g, n, inverse, inverse, work + n2);
    mul(mat(inverse), mat(projector), mat(h));
  }

  // h from the reduced operator and, for the hard mask, the projector; u = h r and the weights of the frames.
  BODVCL_HD void weigh() {
    if (problem.smooth) {
      smooth_mask(g, n, problem.smooth_log2, reduced, keep, problem.projector, powers, sums);
    } else if (problem.projector) {
      divide_projector();
    }
    mul_columns(mat(h), columns(r), columns(u));
    mul_columns(mat(whiten), columns(u), columns(static_weights));
    if (problem.projector) {
      each(g, n * q, [&](int e) { dynamic_weights[e] = -static_weights[e]; });
    } else {
      each(g, n * q, [&](int e) { work[e] = r[e] - u[e]; });
      g.sync();
      mul_columns(mat(whiten), columns(work), columns(dynamic_weights));
    }
    g.sync();
    const double at_zero = problem.projector && problem.smooth ? half_power(problem.smooth_log2) : 0.0;
    const double rest = problem.projector ? 1.0 - at_zero : 0.0;
    const R share = 1.0 / larger(frame_count, fill<R>(1.0));
    each(g, q * t, [&](int e) {
      const int c = e / t, s = e % t;
      const R self = problem.per_frame ? (c == s ? frames[s] : R{}) : frames[s] * share;
      R a = at_zero * self, m = rest * self;
      if (s > 0) {
        a += static_weights[(s - 1) * q + c];
        m += dynamic_weights[(s - 1) * q + c];
      }
      static_coef[e] = a;
      dynamic_coef[e] = m;
    });
    g.sync();
    if (spreads()) pool_coefs();
  }

  // For the spread: static_coef <- its mean over the frames, dynamic_coef <- that of the deviation from the
  // mean over the frames.
  BODVCL_HD void pool_coefs() {
    const R share = 1.0 / larger(frame_count, fill<R>(1.0));
    R *const fixed = work, *const mean = work + t;
    each(g, t, [&](int s) {
      R a{}, m{};
      for (int c = 0; c < q; ++c) {
        a += static_coef[c * t + s];
        m += dynamic_coef[c * t + s];
      }
      fixed[s] = share * a;
      mean[s] = share * m;
    });
    g.sync();
    each(g, q * t, [&](int e) { dynamic_coef[e] -= frames[e / t] * mean[e % t]; });
    each(g, t, [&](int s) { static_coef[s] = fixed[s]; });
    g.sync();
  }

  // Weights w such that the leave-one-out rule reads H = W w W': N, or the projector on what was dropped.
  BODVCL_HD R held_weight(int i) const { return sel(full, keep[i], (1.0 - keep[i]) * s2[i]); }
  BODVCL_HD R fitted(int i) const { return keep[i] * lam[i] / s2[i]; }

  // diag <- H_tt and top <- (H D H)_tt of each pair; 0 / 0 is recognised by `usable`. `temp`: 2 n^2.
  BODVCL_HD void held_out(R* diag, R* top, R* usable, R* temp) const {
    R* const dh = temp + n2;
    each(g, n2, [&](int e) { temp[e] = whiten[e] * held_weight(e % n); });
    g.sync();
    mul(mat(temp), mat(dw), mat(dh));
    each(g, n, [&](int i) {
      R d{}, s{};
      for (int a = 0; a < n; ++a) {
        d += whiten[i * n + a] * temp[i * n + a];
        s += temp[i * n + a] * dh[i * n + a];
      }
      diag[i] = d;
      top[i] = s;
    });
    g.sync();
    R largest{};
    for (int i = 0; i < n; ++i) largest = larger(largest, diag[i]);
    each(g, n, [&](int i) {
      usable[i] = sel((pairs[i] > 0) & (diag[i] > 1e-13 * largest), fill<R>(1.0), R{});
    });
    g.sync();
  }

  BODVCL_HD R is_last_pair(int i) const {
    R later{};
    for (int j = i + 1; j < n; ++j) later += pairs[j];
    return sel((pairs[i] > 0) & (later == 0), fill<R>(1.0), R{});
  }

  // J = W_k' D W_k, the energy of the future frames.
  BODVCL_HD R future(int i, int j) const { return keep[i] * keep[j] * dw[i * n + j]; }

  // x <- W'B W J = J - mu (W'W) J, with a ridge that drops nothing.
  BODVCL_HD void fitted_future(R* x, R* temp) const {
    each(g, n2, [&](int e) { temp[e] = future(e / n, e % n); });
    g.sync();
    mul(mat(spread), mat(temp), mat(x));
    each(g, n2, [&](int e) { x[e] = temp[e] - mu * x[e]; });
    g.sync();
  }

  BODVCL_HD void compute_losses() {
    const double width = problem.width;
    enum { kMse, kTrace, kTwice, kLoo, kForecast, kSums };
    R sums[kSums] = {};
    if (problem.ridged) {
      R* const x = work;
      fitted_future(x, work + n2);
      each(g, n2, [&](int e) {
        const int i = e / n, j = e % n;
        sums[kTwice] += x[e] * x[j * n + i];
        sums[kMse] += mu * spread[e] * (mu * future(i, j));
        if (i == j) sums[kTrace] += x[e];
      });
      g.sync();
    } else {
      each(g, n2, [&](int e) {
        const int i = e / n, j = e % n;
        const R gi = fitted(i), jt = future(i, j);
        sums[kTwice] += gi * jt * fitted(j) * future(j, i);
        if (i == j) {
          const R rho = 1.0 - gi;
          sums[kMse] += rho * rho * s2[i] * dw[e];
          sums[kTrace] += gi * jt;
        }
      });
    }
    R *diag = work, *top = work + n, *usable = work + 2 * n;
    held_out(diag, top, usable, work + 3 * n);
    each(g, n, [&](int i) {
      const R error = usable[i] * top[i] / sel(usable[i] > 0, diag[i] * diag[i], fill<R>(1.0));
      sums[kLoo] += error;
      sums[kForecast] += is_last_pair(i) * error;
    });
    g.sums(sums);
    const R scale = 1.0 / (width * safe_pairs());
    losses[0] = sums[kMse] * scale;
    losses[1] = sums[kTwice] - 2.0 * sums[kTrace] + sel(rank > width, fill<R>(width), rank);
    losses[2] = sums[kLoo] * scale;
    losses[3] = sums[kForecast] / width;
    g.sync();
  }

  BODVCL_HD void forward() {
    count_frames();
    decompose();
    whitened();
    R residual{};
    radius = R{};
    if (!problem.smooth)
      residual = spectral_projector(g, n, reduced, keep, problem.xi, projector, radius, work);
    weigh();
    compute_losses();
    const R* const mask = problem.smooth ? powers + problem.smooth_log2 * n2 : projector;
    R modes{};
    for (int i = 0; i < n; ++i) modes += mask[i * n + i];
    stats[0] = problem.smooth ? modes : nearest(modes);
    stats[1] = rank;
    stats[2] = residual;
    stats[3] = radius;
    stats[4] = R{};
  }

  // --- backward: koopman_adjoint.h -------------------------------------------------

  BODVCL_HD void spread_dots();
  BODVCL_HD void through_inverse(R mu_bar);
  BODVCL_HD R inverse_slope(int i, int j, R top, R si, R sj) const;
  BODVCL_HD void to_frames(R* mix, R* other, int row);
  BODVCL_HD R through_ridged_fit(R mse, R orth);
  BODVCL_HD void through_truncated_fit(R mse, R orth);
  BODVCL_HD void through_mask();
  BODVCL_HD void backward_split();
  BODVCL_HD void backward_losses(const R* grads);
};

}  // namespace BODVCL_ISA
}  // namespace bodvcl
