// Who works on one small matrix: a single thread, or a group of lanes that share
// its memory. Code written against a group divides elements over its lanes and
// synchronises; with one lane it is an ordinary loop.
#pragma once

#include "lanes.h"

namespace bodvcl {
namespace BODVCL_ISA {

struct Serial {
  static constexpr bool kSerial = true;
  int lane() const { return 0; }
  int size() const { return 1; }
  void sync() const {}
  template <class R>
  R sum(R x) const {
    return x;
  }
  bool any(bool x) const { return x; }
};

#ifdef __CUDACC__
struct Warp {
  static constexpr bool kSerial = false;
  __device__ int lane() const { return threadIdx.x & 31; }
  __device__ int size() const { return 32; }
  __device__ void sync() const { __syncwarp(); }
  // The butterfly adds the same pairs in every lane: all lanes get the same bits. As in
  // a block, a reduction also orders the memory accesses around it.
  __device__ double sum(double x) const {
    __syncwarp();
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
  }
  __device__ bool any(bool x) const {
    __syncwarp();
    return __any_sync(0xffffffffu, x);
  }
};

// A whole block; `slots` is shared memory for one double per warp.
struct Block {
  static constexpr bool kSerial = false;
  double* slots;
  __device__ int lane() const { return threadIdx.x; }
  __device__ int size() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
  __device__ double sum(double x) const {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) slots[threadIdx.x >> 5] = x;
    __syncthreads();
    double total = 0;
    for (unsigned w = 0; w < (blockDim.x + 31) / 32; ++w) total += slots[w];
    return total;
  }
  __device__ bool any(bool x) const { return __syncthreads_or(x) != 0; }
};
#endif

// f(0), f(1), ... f(count - 1), divided over the lanes. No synchronisation.
template <class Group, class F>
BODVCL_HD inline void each(const Group& g, int count, F&& f) {
  for (int i = g.lane(); i < count; i += g.size()) f(i);
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
