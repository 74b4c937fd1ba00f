// CUDA operators. Short clips take one warp each, with the small matrices in shared
// memory; longer ones take one block each, in shared memory where they fit and in a
// bounded workspace otherwise.
#include "op_common.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "cooperative.h"

namespace bodvcl {
namespace BODVCL_ISA {

template <>
struct Element<__half> {
  __device__ static double get(__half x) { return static_cast<double>(__half2float(x)); }
  __device__ static __half put(double x) { return __double2half(x); }
};
template <>
struct Element<__nv_bfloat16> {
  __device__ static double get(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
  __device__ static __nv_bfloat16 put(double x) { return __double2bfloat16(x); }
};

namespace {

using torch::stable::accelerator::DeviceGuard;

constexpr int kSharedBytes = 48 * 1024;  // what every device grants without asking
constexpr int kWarpBytes = 16 * 1024;    // a clip that needs more gets a whole block
constexpr int kMaxWarps = 4;
constexpr int kBlockThreads = 128;
constexpr int kWarpStage = 4 * 1024;
constexpr int kBlockStage = 16 * 1024;  // kMaxFrames * kChunk doubles

// Where a clip is worked on: doubles for the algebra, bytes for staged features.
struct Plan {
  bool warp;
  bool shared;  // the algebra is in shared memory
  int doubles;
  int stage_bytes;
  int staged;

  BODVCL_HD int bytes() const { return (shared ? doubles * 8 : 0) + stage_bytes; }
  int warps() const {
    const int fit = kSharedBytes / bytes();
    return fit < kMaxWarps ? fit : kMaxWarps;
  }
};

template <class E>
Plan make_plan(const Problem& p, bool backward) {
  Clip<Warp, double> counter(Warp{}, p);
  Plan plan{};
  plan.doubles = counter.layout(nullptr, backward);
  const auto stage = [&](int most) {
    plan.staged = staged_width<E>(p, most);
    plan.stage_bytes = backward ? 0 : (p.frames * plan.staged * int(sizeof(E)) + 7) / 8 * 8;
  };
  stage(kWarpStage);
  plan.shared = true;
  plan.warp = plan.bytes() <= kWarpBytes;
  if (!plan.warp) {
    stage(kBlockStage);
    plan.shared = plan.bytes() <= kSharedBytes - 256;  // a few doubles are taken by reductions
  }
  return plan;
}

template <class E>
__global__ void __launch_bounds__(32 * kMaxWarps, 3) forward_warp(
    const __grid_constant__ Problem p, const __grid_constant__ ForwardData d,
    const __grid_constant__ Plan plan) {
  extern __shared__ double memory[];
  const int warp = threadIdx.x / 32;
  const int64_t clip = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + warp;
  if (clip >= p.clips) return;
  double* const mine = memory + warp * (plan.bytes() / 8);
  forward_clip<Warp, E>(Warp{}, p, d, clip, mine, reinterpret_cast<E*>(mine + plan.doubles), plan.staged);
}

template <class E>
__global__ void __launch_bounds__(32 * kMaxWarps, 3) backward_warp(
    const __grid_constant__ Problem p, const __grid_constant__ BackwardData d,
    const __grid_constant__ Plan plan) {
  extern __shared__ double memory[];
  const int warp = threadIdx.x / 32;
  const int64_t clip = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + warp;
  if (clip >= p.clips) return;
  backward_clip<Warp, E>(Warp{}, p, d, clip, memory + warp * (plan.bytes() / 8));
}

template <class E>
__global__ void __launch_bounds__(kBlockThreads, 2) forward_block(
    const __grid_constant__ Problem p, const __grid_constant__ ForwardData d,
    const __grid_constant__ Plan plan, double* workspace) {
  extern __shared__ double memory[];
  __shared__ double slots[kBlockThreads / 32];
  double* const mine = plan.shared ? memory : workspace + static_cast<int64_t>(blockIdx.x) * plan.doubles;
  E* const stage = reinterpret_cast<E*>(plan.shared ? memory + plan.doubles : memory);
  for (int64_t clip = blockIdx.x; clip < p.clips; clip += gridDim.x)
    forward_clip<Block, E>(Block{slots}, p, d, clip, mine, stage, plan.staged);
}

template <class E>
__global__ void __launch_bounds__(kBlockThreads, 2) backward_block(
    const __grid_constant__ Problem p, const __grid_constant__ BackwardData d,
    const __grid_constant__ Plan plan, double* workspace) {
  extern __shared__ double memory[];
  __shared__ double slots[kBlockThreads / 32];
  double* const mine = plan.shared ? memory : workspace + static_cast<int64_t>(blockIdx.x) * plan.doubles;
  for (int64_t clip = blockIdx.x; clip < p.clips; clip += gridDim.x)
    backward_clip<Block, E>(Block{slots}, p, d, clip, mine);
}

cudaStream_t current_stream(const Tensor& t) {
  void* s = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &s));
  return static_cast<cudaStream_t>(s);
}

// Blocks in flight when a workspace is needed: two for each multiprocessor, no more than there are clips.
unsigned workspace_blocks(const Problem& p, int device) {
  int processors = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  return static_cast<unsigned>(p.clips < 2 * processors ? p.clips : 2 * processors);
}

// Starts the warp kernel or the block kernel for `plan`.
template <class Data>
void launch(
    void (*warp_kernel)(Problem, Data, Plan), void (*block_kernel)(Problem, Data, Plan, double*),
    const Problem& p, const Data& d, const Plan& plan, const Tensor& features) {
  const cudaStream_t stream = current_stream(features);
  if (plan.warp) {
    const int warps = plan.warps();
    const auto blocks = static_cast<unsigned>((p.clips + warps - 1) / warps);
    warp_kernel<<<blocks, 32 * warps, warps * plan.bytes(), stream>>>(p, d, plan);
  } else if (plan.shared) {
    const auto blocks = static_cast<unsigned>(p.clips < 65535 ? p.clips : 65535);
    block_kernel<<<blocks, kBlockThreads, plan.bytes(), stream>>>(p, d, plan, nullptr);
  } else {
    const unsigned blocks = workspace_blocks(p, features.get_device_index());
    const Tensor workspace =
        torch::stable::new_empty(features, {static_cast<int64_t>(blocks) * plan.doubles}, ScalarType::Double);
    block_kernel<<<blocks, kBlockThreads, plan.bytes(), stream>>>(
        p, d, plan, static_cast<double*>(workspace.mutable_data_ptr()));
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class E>
void run_forward(const Problem& p, const ForwardData& d, const Tensor& x) {
  launch<ForwardData>(forward_warp<E>, forward_block<E>, p, d, make_plan<E>(p, false), x);
}
template <class E>
void run_backward(const Problem& p, const BackwardData& d, const Tensor& x) {
  launch<BackwardData>(backward_warp<E>, backward_block<E>, p, d, make_plan<E>(p, true), x);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> koopman_forward(
    const Tensor& features, const std::optional<Tensor>& frame_mask, double xi, int64_t mask,
    int64_t smooth_log2, int64_t weights, double rtol, double ridge, int64_t rank, int64_t pool) {
  const Problem p = make_problem(
      "koopman_forward", features, frame_mask, xi, mask, smooth_log2, weights, rtol, ridge, rank, pool, 0.0);
  const DeviceGuard guard(features.get_device_index());
  const ForwardTensors out = make_outputs(p, features);
  const ForwardData d = forward_data(features, frame_mask, out);
  if (p.clips == 0) return out.all();
  switch (p.dtype) {
    case DType::kDouble: run_forward<double>(p, d, features); break;
    case DType::kFloat: run_forward<float>(p, d, features); break;
    case DType::kHalf: run_forward<__half>(p, d, features); break;
    case DType::kBFloat16: run_forward<__nv_bfloat16>(p, d, features); break;
  }
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
  const DeviceGuard guard(features.get_device_index());
  Tensor grad = torch::stable::empty_like(features);
  Tensor gain = torch::stable::new_empty(features, {p.clips}, ScalarType::Double);
  if (p.clips == 0) return {grad, gain};
  const BackwardData d =
      backward_data(grad_static, grad_dynamic, grad_losses, features, frame_mask, saved, grad, gain);
  switch (p.dtype) {
    case DType::kDouble: run_backward<double>(p, d, features); break;
    case DType::kFloat: run_backward<float>(p, d, features); break;
    case DType::kHalf: run_backward<__half>(p, d, features); break;
    case DType::kBFloat16: run_backward<__nv_bfloat16>(p, d, features); break;
  }
  return {grad, gain};
}

}  // namespace
}  // namespace BODVCL_ISA
}  // namespace bodvcl

STABLE_TORCH_LIBRARY_IMPL(bodvcl_native, CUDA, m) {
  m.impl("koopman_forward", TORCH_BOX(&bodvcl::BODVCL_ISA::koopman_forward));
  m.impl("koopman_backward", TORCH_BOX(&bodvcl::BODVCL_ISA::koopman_backward));
}
