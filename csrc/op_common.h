// Arguments of the operators: checked, and turned into plain data. Only headers
// of the stable ABI may be included: anything else would tie the library to one
// PyTorch release.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>

#include "problem.h"

namespace bodvcl {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline DType dtype_of(const char* op, const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return DType::kDouble;
    case ScalarType::Float: return DType::kFloat;
    case ScalarType::Half: return DType::kHalf;
    case ScalarType::BFloat16: return DType::kBFloat16;
    default: break;
  }
  STD_TORCH_CHECK(
      false, op, ": features must be float64, float32, float16 or bfloat16, got ",
      torch::headeronly::toString(x.scalar_type()));
  return DType::kFloat;
}

inline Problem make_problem(
    const char* op, const Tensor& features, const std::optional<Tensor>& frame_mask, double xi, int64_t mask,
    int64_t smooth_log2, int64_t weights, double rtol, double ridge, int64_t rank, int64_t pool,
    double max_gain) {
  STD_TORCH_CHECK(
      features.dim() == 3, op, ": features must be (clips, frames, width), got ", features.dim(), "-D");
  const int64_t frames = features.size(1), width = features.size(2);
  STD_TORCH_CHECK(
      frames >= kMinFrames && frames <= kMaxFrames, op, ": expected ", kMinFrames, " to ", kMaxFrames,
      " frames, got ", frames);
  STD_TORCH_CHECK(
      width >= kMinWidth && width <= kMaxWidth, op, ": expected a width of ", kMinWidth, " to ", kMaxWidth,
      ", got ", width);
  STD_TORCH_CHECK(features.is_contiguous(), op, ": features must be contiguous");
  if (frame_mask) {
    STD_TORCH_CHECK(
        frame_mask->dim() == 2 && frame_mask->size(0) == features.size(0) && frame_mask->size(1) == frames &&
            frame_mask->scalar_type() == ScalarType::Bool && frame_mask->is_contiguous(),
        op, ": frame_mask must be a contiguous bool tensor (clips, frames)");
    STD_TORCH_CHECK(
        frame_mask->device() == features.device(), op,
        ": frame_mask and features must be on the same device");
  }
  STD_TORCH_CHECK(mask == 0 || mask == 1, op, ": mask must be 0 (hard) or 1 (smooth), got ", mask);
  STD_TORCH_CHECK(mask == 1 || (xi > 0 && xi <= 1), op, ": the hard mask needs 0 < xi <= 1, got ", xi);
  STD_TORCH_CHECK(
      smooth_log2 >= 0 && smooth_log2 <= kMaxSmoothLog2, op, ": smooth_log2 must be 0 to ", kMaxSmoothLog2,
      ", got ", smooth_log2);
  STD_TORCH_CHECK(weights == 0 || weights == 1, op, ": weights must be 0 or 1, got ", weights);
  STD_TORCH_CHECK(pool >= 0 && pool <= 2, op, ": pool must be 0 (mean), 1 (none) or 2 (std), got ", pool);
  STD_TORCH_CHECK(rtol >= 0 && rtol < 1, op, ": rtol must be in [0, 1), got ", rtol);
  STD_TORCH_CHECK(ridge >= 0, op, ": ridge must not be negative, got ", ridge);
  STD_TORCH_CHECK(rank >= 0 && rank < frames, op, ": rank must be 0 to ", frames - 1, ", got ", rank);
  Problem p{};
  p.clips = features.size(0);
  p.frames = int(frames);
  p.width = int(width);
  p.xi = xi;
  p.smooth = mask == 1;
  p.smooth_log2 = p.smooth ? int(smooth_log2) : 0;
  p.projector = weights == 1;
  p.rtol = rtol;
  p.ridge = ridge;
  p.rank = int(rank);
  p.per_frame = pool != 0;
  p.spread = pool == 2;
  p.max_gain = max_gain;
  p.dtype = dtype_of(op, features);
  p.ridged = drops_nothing(p.ridge, p.rank);
  return p;
}

struct ForwardTensors {
  Tensor fixed, dynamic, losses, stats, reduced, saved;
  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> all() const {
    return {fixed, dynamic, losses, stats, reduced, saved};
  }
};

inline ForwardTensors make_outputs(const Problem& p, const Tensor& x) {
  using torch::stable::new_empty;
  const auto f64 = ScalarType::Double;
  const int64_t b = p.clips, t = p.frames, m = p.width;
  const bool each = stream_rows(p) > 1;
  const auto stream = [&] { return each ? new_empty(x, {b, t, m}) : new_empty(x, {b, m}); };
  return {
      stream(),
      stream(),
      new_empty(x, {b, kLosses}, f64),
      new_empty(x, {b, kStats}, f64),
      new_empty(x, {b, t - 1, t - 1}, f64),
      new_empty(x, {b, saved_size(p.frames, p.smooth)}, f64)};
}

inline ForwardData forward_data(const Tensor& x, const std::optional<Tensor>& mask, const ForwardTensors& o) {
  return {
      x.const_data_ptr(),
      mask ? static_cast<const bool*>(mask->const_data_ptr()) : nullptr,
      o.fixed.mutable_data_ptr(),
      o.dynamic.mutable_data_ptr(),
      static_cast<double*>(o.losses.mutable_data_ptr()),
      static_cast<double*>(o.stats.mutable_data_ptr()),
      static_cast<double*>(o.reduced.mutable_data_ptr()),
      static_cast<double*>(o.saved.mutable_data_ptr())};
}

inline void check_gradients(
    const char* op, const Problem& p, const Tensor& fixed, const Tensor& dynamic, const Tensor& losses,
    const Tensor& x, const Tensor& saved) {
  const int64_t stream = p.clips * stream_rows(p) * p.width;
  for (const Tensor* g : {&fixed, &dynamic}) {
    STD_TORCH_CHECK(
        g->numel() == stream && g->scalar_type() == x.scalar_type() && g->is_contiguous(), op,
        ": grad_static and grad_dynamic must be contiguous, of features' dtype, with ", stream,
        " elements, got ", g->numel());
    STD_TORCH_CHECK(g->device() == x.device(), op, ": the gradients and features must be on the same device");
  }
  STD_TORCH_CHECK(
      losses.numel() == p.clips * kLosses && losses.scalar_type() == ScalarType::Double &&
          losses.is_contiguous() && losses.device() == x.device(),
      op, ": grad_losses must be a contiguous float64 tensor (clips, ", kLosses, ") beside features");
  STD_TORCH_CHECK(
      saved.numel() == p.clips * saved_size(p.frames, p.smooth) &&
          saved.scalar_type() == ScalarType::Double && saved.is_contiguous() && saved.device() == x.device(),
      op, ": saved is not what koopman_forward returned for these arguments");
}

inline BackwardData backward_data(
    const Tensor& fixed, const Tensor& dynamic, const Tensor& losses, const Tensor& x,
    const std::optional<Tensor>& mask, const Tensor& saved, const Tensor& grad, const Tensor& gain) {
  return {
      fixed.const_data_ptr(),
      dynamic.const_data_ptr(),
      static_cast<const double*>(losses.const_data_ptr()),
      x.const_data_ptr(),
      mask ? static_cast<const bool*>(mask->const_data_ptr()) : nullptr,
      static_cast<const double*>(saved.const_data_ptr()),
      grad.mutable_data_ptr(),
      static_cast<double*>(gain.mutable_data_ptr())};
}

}  // namespace bodvcl
