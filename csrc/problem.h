// What the operators ask of the kernels: plain data, no code.
#pragma once

#include <cstdint>

#include "target.h"

namespace bodvcl {

constexpr int kMinFrames = 3;
constexpr int kMaxFrames = 64;
constexpr int kMinWidth = 4;
constexpr int kMaxWidth = 1024;
constexpr int kMaxSmoothLog2 = 20;
constexpr double kSmallestRidge = 1e-10;  // below it rounding could still make B + mu singular
constexpr double kNoSpread = 1e-20;  // variance, as a share of the feature's mean square, that rounding makes
constexpr int kLosses = 4;           // mse, orthogonality excess, leave-one-out, forecast
constexpr int kStats = 5;            // static modes, rank, residual, radius, non-finite

enum class DType : int { kDouble, kFloat, kHalf, kBFloat16 };

struct Problem {
  int64_t clips;
  int frames;
  int width;
  double xi;
  bool smooth;
  int smooth_log2;
  bool projector;
  double rtol;
  double ridge;
  int rank;
  bool per_frame;  // split every frame in place of the mean frame
  bool spread;     // ... and give the mean of the static part and the standard deviation of the dynamic one
  double max_gain;
  DType dtype;
  bool ridged;  // the ridge is large enough that no direction can be dropped
};

struct ForwardData {
  const void* features;
  const bool* frame_mask;  // null: every frame is valid
  void* fixed;             // the static stream
  void* dynamic;
  double* losses;
  double* stats;
  double* reduced;
  double* saved;
};

struct BackwardData {
  const void* grad_static;
  const void* grad_dynamic;
  const double* grad_losses;
  const void* features;
  const bool* frame_mask;
  const double* saved;
  void* grad_features;
  double* gain;
};

// Rows of a stream per clip.
BODVCL_HD constexpr int stream_rows(const Problem& p) { return p.per_frame && !p.spread ? p.frames : 1; }

BODVCL_HD constexpr bool drops_nothing(double ridge, int rank) {
  return ridge >= kSmallestRidge && rank == 0;
}

// Saved per clip: upper triangle of the Gram matrix, lam and vectors (see Clip::decompose),
// projector (hard mask only), radius, non-finite flag.
BODVCL_HD constexpr int saved_gram(int frames) { return frames * (frames + 1) / 2; }
BODVCL_HD constexpr int saved_size(int frames, bool smooth) {
  const int n = frames - 1;
  return saved_gram(frames) + n + n * n * (smooth ? 1 : 2) + 2;
}

}  // namespace bodvcl
