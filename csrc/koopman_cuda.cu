// CUDA operators. Short clips take one warp each, with the small matrices in shared
// memory; longer ones take one block each, in shared memory where they fit and in a
// bounded workspace otherwise. Clips of 8 and of 16 frames have kernels of their own.
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

constexpr int kWarpBytes = 16 * 1024;  // a clip that needs more gets a whole block
constexpr int kMaxWarps = 4;
constexpr int kThreads = 128;
constexpr int kWarpStage = 4 * 1024;
constexpr int kBlockStage = 16 * 1024;  // kMaxFrames * kChunk doubles
constexpr int kReduction = 1024;        // bytes of a block's shared memory left for its sums
constexpr int kShortFrames = 8;         // frames of the warp kernels, and
constexpr int kMediumFrames = 16;       // of the block kernels, that are compiled for one number of frames

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

// Where a clip is worked on: doubles for the algebra, bytes for staged features.
struct Plan {
  bool warp;
  bool shared;  // the algebra is in shared memory
  int doubles;
  int stage_bytes;
  int staged;

  BODVCL_HD int bytes() const { return (shared ? doubles * 8 : 0) + stage_bytes; }
  int warps() const {
    const int fit = 48 * 1024 / bytes();  // what every device grants without asking
    return fit < kMaxWarps ? fit : kMaxWarps;
  }
};

// `shared_bytes`: what a block of this device may take.
template <class E>
Plan make_plan(const Problem& p, bool backward, int shared_bytes) {
  Clip<Warp, double> counter(Warp{}, p);
  Plan plan{};
  plan.doubles = counter.layout(nullptr, backward) + (backward && p.spread ? p.width : 0);
  const auto stage = [&](int most) {
    plan.staged = staged_width<E>(p, most);
    plan.stage_bytes = backward ? 0 : (p.frames * plan.staged * int(sizeof(E)) + 7) / 8 * 8;
  };
  stage(kWarpStage);
  plan.shared = true;
  plan.warp = plan.bytes() <= kWarpBytes;
  if (!plan.warp) {
    stage(kBlockStage);
    plan.shared = plan.bytes() <= shared_bytes - kReduction;
  }
  return plan;
}

template <class E>
Plan plan_for(const Problem& p, bool backward, const Tensor& x) {
  return make_plan<E>(p, backward, attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, x.get_device_index()));
}

// Whether a kernel that is compiled for this number of frames serves the plan.
bool is_special(const Problem& p, const Plan& plan) {
  if (p.per_frame || !plan.shared) return false;
  return p.frames == (plan.warp ? kShortFrames : kMediumFrames);
}

// T: Fixed for the number of frames that a kernel is compiled for, or int for any.
template <class E, class T>
__global__ void __launch_bounds__(32 * kMaxWarps, 3) forward_warp(
    const __grid_constant__ Problem p, const __grid_constant__ ForwardData d,
    const __grid_constant__ Plan plan) {
  extern __shared__ double memory[];
  const int warp = threadIdx.x / 32;
  const int64_t clip = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + warp;
  if (clip >= p.clips) return;
  double* const mine = memory + warp * (plan.bytes() / 8);
  forward_clip<T>(Warp{}, p, d, clip, mine, reinterpret_cast<E*>(mine + plan.doubles), plan.staged);
}

template <class E, class T>
__global__ void __launch_bounds__(32 * kMaxWarps, 3) backward_warp(
    const __grid_constant__ Problem p, const __grid_constant__ BackwardData d,
    const __grid_constant__ Plan plan) {
  extern __shared__ double memory[];
  const int warp = threadIdx.x / 32;
  const int64_t clip = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + warp;
  if (clip >= p.clips) return;
  backward_clip<T, E>(Warp{}, p, d, clip, memory + warp * (plan.bytes() / 8));
}

template <class E, class T>
__global__ void __launch_bounds__(kThreads, 2) forward_block(
    const __grid_constant__ Problem p, const __grid_constant__ ForwardData d,
    const __grid_constant__ Plan plan, double* workspace) {
  extern __shared__ double memory[];
  __shared__ double slots[kThreads / 32 * kSlots];
  constexpr bool kShared = kKnown<T> > 0;  // else the plan says where
  const bool shared = kShared || plan.shared;
  double* const mine = shared ? memory : workspace + static_cast<int64_t>(blockIdx.x) * plan.doubles;
  E* const stage = reinterpret_cast<E*>(shared ? memory + plan.doubles : memory);
  const Block<kThreads, kShared> group{slots};
  for (int64_t clip = blockIdx.x; clip < p.clips; clip += gridDim.x)
    forward_clip<T>(group, p, d, clip, mine, stage, plan.staged);
}

template <class E, class T>
__global__ void __launch_bounds__(kThreads, 2) backward_block(
    const __grid_constant__ Problem p, const __grid_constant__ BackwardData d,
    const __grid_constant__ Plan plan, double* workspace) {
  extern __shared__ double memory[];
  __shared__ double slots[kThreads / 32 * kSlots];
  constexpr bool kShared = kKnown<T> > 0;  // else the plan says where
  double* const mine =
      kShared || plan.shared ? memory : workspace + static_cast<int64_t>(blockIdx.x) * plan.doubles;
  const Block<kThreads, kShared> group{slots};
  for (int64_t clip = blockIdx.x; clip < p.clips; clip += gridDim.x)
    backward_clip<T, E>(group, p, d, clip, mine);
}

cudaStream_t current_stream(const Tensor& t) {
  void* s = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &s));
  return static_cast<cudaStream_t>(s);
}

// Blocks in flight when a workspace is needed: two for each multiprocessor, no more than there are clips.
unsigned workspace_blocks(const Problem& p, int device) {
  const int processors = attribute(cudaDevAttrMultiProcessorCount, device);
  return static_cast<unsigned>(p.clips < 2 * processors ? p.clips : 2 * processors);
}

template <class Data>
using WarpKernel = void (*)(Problem, Data, Plan);
template <class Data>
using BlockKernel = void (*)(Problem, Data, Plan, double*);

// Starts the warp kernel or the block kernel for `plan`.
template <class Data>
void launch(
    WarpKernel<Data> warp_kernel, BlockKernel<Data> block_kernel, const Problem& p, const Data& d,
    const Plan& plan, const Tensor& features) {
  const cudaStream_t stream = current_stream(features);
  if (plan.warp) {
    const int warps = plan.warps();
    const auto blocks = static_cast<unsigned>((p.clips + warps - 1) / warps);
    warp_kernel<<<blocks, 32 * warps, warps * plan.bytes(), stream>>>(p, d, plan);
  } else if (plan.shared) {
    // More than every device grants has to be asked for.
    STD_CUDA_CHECK(
        cudaFuncSetAttribute(block_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes()));
    const auto blocks = static_cast<unsigned>(p.clips < 65535 ? p.clips : 65535);
    block_kernel<<<blocks, kThreads, plan.bytes(), stream>>>(p, d, plan, nullptr);
  } else {
    const unsigned blocks = workspace_blocks(p, features.get_device_index());
    const Tensor workspace =
        torch::stable::new_empty(features, {static_cast<int64_t>(blocks) * plan.doubles}, ScalarType::Double);
    block_kernel<<<blocks, kThreads, plan.bytes(), stream>>>(
        p, d, plan, static_cast<double*>(workspace.mutable_data_ptr()));
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class E>
void run(const Problem& p, const ForwardData& d, const Tensor& x) {
  const Plan plan = plan_for<E>(p, false, x);
  const bool special = is_special(p, plan);
  launch<ForwardData>(
      special ? forward_warp<E, Fixed<kShortFrames>> : forward_warp<E, int>,
      special ? forward_block<E, Fixed<kMediumFrames>> : forward_block<E, int>, p, d, plan, x);
}
template <class E>
void run(const Problem& p, const BackwardData& d, const Tensor& x) {
  const Plan plan = plan_for<E>(p, true, x);
  const bool special = is_special(p, plan);
  launch<BackwardData>(
      special ? backward_warp<E, Fixed<kShortFrames>> : backward_warp<E, int>,
      special ? backward_block<E, Fixed<kMediumFrames>> : backward_block<E, int>, p, d, plan, x);
}

template <class Data>
void run_any(const Problem& p, const Data& d, const Tensor& x) {
  switch (p.dtype) {
    case DType::kDouble: run<double>(p, d, x); break;
    case DType::kFloat: run<float>(p, d, x); break;
    case DType::kHalf: run<__half>(p, d, x); break;
    case DType::kBFloat16: run<__nv_bfloat16>(p, d, x); break;
  }
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
  run_any(p, d, features);
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
  run_any(p, d, features);
  return {grad, gain};
}

}  // namespace
}  // namespace BODVCL_ISA
}  // namespace bodvcl

STABLE_TORCH_LIBRARY_IMPL(bodvcl_native, CUDA, m) {
  m.impl("koopman_forward", TORCH_BOX(&bodvcl::BODVCL_ISA::koopman_forward));
  m.impl("koopman_backward", TORCH_BOX(&bodvcl::BODVCL_ISA::koopman_backward));
}
