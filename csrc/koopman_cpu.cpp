// Operator schemas, and the CPU operators: threads over groups of clips.
#include "op_common.h"

#include <cstdlib>
#include <memory>

#include "cpu_choice.h"

namespace bodvcl {
namespace {

const CpuKernels& choose() {
  const CpuKernels* const best = choose_kernels();
  const char* const wanted = std::getenv("BODVCL_CPU_ISA");
  STD_TORCH_CHECK(
      best != nullptr, "BODVCL_CPU_ISA=", wanted ? wanted : "",
      ": not built, or not supported by this processor; expected baseline, "
      "avx2 or avx512, or neon on 64-bit ARM");
  return *best;
}

const CpuKernels& kernels() {
  static const CpuKernels& best = choose();
  return best;
}

template <class F>
void over_groups(const Problem& p, bool backward, F&& f) {
  const CpuKernels& k = kernels();
  const int64_t groups = (p.clips + k.lanes - 1) / k.lanes, bytes = k.scratch(p, backward);
  torch::stable::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<char[]> memory(new char[bytes + 64]);
    const auto address = reinterpret_cast<uintptr_t>(memory.get());
    void* const scratch = memory.get() + (64 - address % 64) % 64;
    for (int64_t group = begin; group < end; ++group) f(k, group, scratch);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> koopman_forward(
    const Tensor& features, const std::optional<Tensor>& frame_mask, double xi, int64_t mask,
    int64_t smooth_log2, int64_t weights, double rtol, double ridge, int64_t rank, int64_t pool) {
  const Problem p = make_problem(
      "koopman_forward", features, frame_mask, xi, mask, smooth_log2, weights, rtol, ridge, rank, pool, 0.0);
  const ForwardTensors out = make_outputs(p, features);
  const ForwardData d = forward_data(features, frame_mask, out);
  if (p.clips > 0)
    over_groups(p, false, [&](const CpuKernels& k, int64_t group, void* s) { k.forward(p, d, group, s); });
  return out.all();
}

std::tuple<Tensor, Tensor> koopman_backward(
    const Tensor& grad_static, const Tensor& grad_dynamic, const Tensor& grad_losses, const Tensor& features,
    const std::optional<Tensor>& frame_mask, const Tensor& saved, double xi, int64_t mask,
    int64_t smooth_log2, int64_t weights, double rtol, double ridge, int64_t rank, int64_t pool,
    double max_gain) {
  const char* const op = "koopman_backward";
  const Problem p = make_problem(
      op, features, frame_mask, xi, mask, smooth_log2, weights, rtol, ridge, rank, pool, max_gain);
  check_gradients(op, p, grad_static, grad_dynamic, grad_losses, features, saved);
  Tensor grad = torch::stable::empty_like(features);
  Tensor gain = torch::stable::new_empty(features, {p.clips}, ScalarType::Double);
  const BackwardData d =
      backward_data(grad_static, grad_dynamic, grad_losses, features, frame_mask, saved, grad, gain);
  if (p.clips > 0)
    over_groups(p, true, [&](const CpuKernels& k, int64_t group, void* s) { k.backward(p, d, group, s); });
  return {grad, gain};
}

}  // namespace
}  // namespace bodvcl

STABLE_TORCH_LIBRARY(bodvcl_native, m) {
  m.def(
      "koopman_forward(Tensor features, Tensor? frame_mask, float xi, int mask, int smooth_log2, int weights, "
      "float rtol, float ridge, int rank, int pool) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "koopman_backward(Tensor grad_static, Tensor grad_dynamic, Tensor grad_losses, Tensor features, "
      "Tensor? frame_mask, Tensor saved, float xi, int mask, int smooth_log2, int weights, float rtol, "
      "float ridge, int rank, int pool, float max_gain) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(bodvcl_native, CPU, m) {
  m.impl("koopman_forward", TORCH_BOX(&bodvcl::koopman_forward));
  m.impl("koopman_backward", TORCH_BOX(&bodvcl::koopman_backward));
}
