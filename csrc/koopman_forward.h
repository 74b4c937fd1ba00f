// The Koopman split and the prediction losses of one clip (or of one pack of
// clips), from its Gram matrix. The exact adjoint is in koopman_adjoint.h.
//
// With frames as columns, F (M x T), Fb = F[:, :-1], Ff = F[:, 1:], n = T - 1:
//   B = Fb'Fb   C = Fb'Ff   D = Ff'Ff   R = Fb' mean(F), or Fb' F per frame
//   B = V diag(lam) V',  s2 = lam + mu on the kept directions,  W = V diag(s2^-1/2)
//   At = W_k' C W_k      reduced operator, zero on the dropped directions
//   r = W_k' R,  h = m(At) or g(At),  Z_A = alpha f + Ff W h r                      (Eq. 21)
// Everything is kept in the coordinates of W. Directions of an invalid pair have a
// zero column in V, so that no other formula has to know about the frame mask.
#pragma once

#include "problem.h"
#include "spectral.h"

namespace bodvcl {
namespace BODVCL_ISA {

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

template <class Group, class R>
struct Clip {
  Group g;
  const Problem& problem;
  int t, n, n2, q;  // frames, pairs, pairs^2, columns of R

  // Inputs: Gram matrix (t x t, zero in invalid frames) and validity of each frame as 0 or 1.
  R *gram, *frames;
  // Saved for the backward pass.
  R *vectors, *lam, *projector;
  R radius;
  // Derived from them.
  R *pairs, *keep, *s2, *whiten, *cw, *dw, *reduced, *rw, *r, *h, *u, *static_weights, *dynamic_weights;
  R pair_count, frame_count, rank, mu;
  mask_t<R> full;  // nothing was dropped: leave-one-out uses N, else the dropped projector
  // Outputs of forward: rows of coefficients over frames, q x t.
  R *static_coef, *dynamic_coef;
  R losses[kLosses], stats[kStats];
  // Backward only.
  R *static_dots, *dynamic_dots;  // inputs, n x q: Ff' grad
  R *split_mix, *loss_mix;        // outputs, t x t: gradient of frame i as a mix of frames
  R *b_bar, *c_bar, *x, *h_bar;
  R *powers, *sums, *work;

  BODVCL_HD Clip(Group group, const Problem& p) : g(group), problem(p) {}

  // Pointers into `base`; the number of R that they need. `base` may be null to count.
  BODVCL_HD int layout(R* base, bool backward) {
    t = problem.frames;
    n = t - 1;
    n2 = n * n;
    q = problem.per_frame ? t : 1;
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
    }
    const int eigen = even(n) * (even(n) + 1), functions = 4 * n2 + 3 * n;
    work = arena.take(eigen > functions ? eigen : functions);
    return arena.used();
  }

  BODVCL_HD View<R> mat(R* p) const { return {p, n, 1}; }
  BODVCL_HD View<R> columns(R* p) const { return {p, q, 1}; }
  BODVCL_HD View<R> gram_c() const { return {gram + 1, t, 1}; }
  BODVCL_HD View<R> gram_d() const { return {gram + t + 1, t, 1}; }
  BODVCL_HD void mul(View<R> a, View<R> b, View<R> c, bool add = false) const {
    product(g, n, n, n, a, b, c, add);
  }
  BODVCL_HD void mul_columns(View<R> a, View<R> b, View<R> c, bool add = false) const {
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

  // vectors, lam <- eigen-decomposition of B. The matrix is scaled to trace 1: no overflow.
  BODVCL_HD void decompose() {
    const int m = even(n);
    R trace{};
    for (int i = 0; i < n; ++i) trace += pairs[i] * gram[i * t + i];
    const mask_t<R> zero = not_of(trace > 0);
    const R scale = sel(zero, R{}, 1.0 / sel(zero, fill<R>(1.0), trace));
    each(g, m * m, [&](int e) {
      const int i = e / m, j = e % m;
      work[e] = i < n && j < n ? pairs[i] * pairs[j] * scale * gram[i * t + j] : R{};
    });
    g.sync();
    eigen_symmetric(g, n, work, vectors, lam, work + m * m);
    each(g, n, [&](int i) { lam[i] = larger(lam[i], R{}) * trace; });
    each(g, n2, [&](int e) { vectors[e] *= pairs[e % n]; });
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
    const R cut = problem.ridge > 0 ? R{} : problem.rtol * problem.rtol * top;
    const R dropped = sel(top > 0, top + mu, fill<R>(1.0));
    each(g, n, [&](int i) {
      const R full_scale = lam[i] + mu;
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
    R* const scale = work;
    each(g, n, [&](int i) { scale[i] = 1.0 / root(s2[i]); });
    g.sync();
    each(g, n2, [&](int e) { whiten[e] = vectors[e] * scale[e % n]; });
    g.sync();

    mul(gram_c(), mat(whiten), mat(work));
    mul(mat(whiten).t(), mat(work), mat(cw));
    mul(gram_d(), mat(whiten), mat(work));
    mul(mat(whiten).t(), mat(work), mat(dw));
    if (problem.per_frame) {
      product(g, n, t, n, mat(whiten).t(), View<R>{gram, t, 1}, columns(rw));
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
    invert(g, n, inverse, work + n2);
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

  BODVCL_HD void compute_losses() {
    const double width = problem.width;
    R mse{}, trace{}, twice{}, loo{}, forecast{};
    each(g, n2, [&](int e) {
      const int i = e / n, j = e % n;
      const R gi = fitted(i), jt = keep[i] * keep[j] * dw[e], tj = keep[i] * keep[j] * dw[j * n + i];
      twice += gi * jt * fitted(j) * tj;
      if (i == j) {
        const R rho = 1.0 - gi;
        mse += rho * rho * s2[i] * dw[e];
        trace += gi * jt;
      }
    });
    R *diag = work, *top = work + n, *usable = work + 2 * n;
    held_out(diag, top, usable, work + 3 * n);
    each(g, n, [&](int i) {
      const R error = usable[i] * top[i] / sel(usable[i] > 0, diag[i] * diag[i], fill<R>(1.0));
      loo += error;
      forecast += is_last_pair(i) * error;
    });
    const R scale = 1.0 / (width * safe_pairs());
    losses[0] = g.sum(mse) * scale;
    losses[1] = g.sum(twice) - 2.0 * g.sum(trace) + sel(rank > width, fill<R>(width), rank);
    losses[2] = g.sum(loo) * scale;
    losses[3] = g.sum(forecast) / width;
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

  BODVCL_HD void through_inverse();
  BODVCL_HD R inverse_slope(int i, int j, R top, R si, R sj) const;
  BODVCL_HD void to_frames(R* mix, R* other, int row);
  BODVCL_HD void through_mask();
  BODVCL_HD void backward_split();
  BODVCL_HD void backward_losses(const R* grads);
};

}  // namespace BODVCL_ISA
}  // namespace bodvcl
