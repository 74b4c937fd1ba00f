// Who works on one small matrix: a single thread, or a group of lanes that share
// its memory. Code written against a group divides elements over its lanes and
// synchronises; with one lane it is an ordinary loop.
#pragma once

#include "lanes.h"

namespace bodvcl {
namespace BODVCL_ISA {

// A number that is known when the kernel is compiled. Code that takes its sizes as types works with these and
// with plain ints, which are known when it runs.
template <int kValue>
struct Fixed {
  BODVCL_HD constexpr operator int() const { return kValue; }
};

// The number, or 0 for one that is known when the kernel runs.
template <class N>
constexpr int kKnown = 0;
template <int kValue>
constexpr int kKnown<Fixed<kValue>> = kValue;

BODVCL_HD constexpr int times(int a, int b) { return a * b; }
template <int kA, int kB>
BODVCL_HD constexpr Fixed<kA * kB> times(Fixed<kA>, Fixed<kB>) {
  return {};
}

// What a group has:
//   kLanes          number of lanes where it is known at compile time, else 0
//   kShared         whether its matrices are known to be in shared memory
//   sum, sums, any  over the lanes; all lanes get the same bits, and memory is ordered around the call
//   totals          the same sums, but write(i, sum of x[i]) is called in one lane for each i

struct Serial {
  static constexpr bool kSerial = true;
  static constexpr bool kShared = false;
  static constexpr int kLanes = 1;
  int lane() const { return 0; }
  int size() const { return 1; }
  void sync() const {}
  template <class R>
  R sum(R x) const {
    return x;
  }
  template <class R, int kCount>
  void sums(R (&)[kCount]) const {}
  bool any(bool x) const { return x; }
};

#ifdef __CUDACC__
__device__ inline double of_other_lane(double x, int step) { return __shfl_xor_sync(0xffffffffu, x, step); }

// Adds the upper half of 2 kStep values to the lower half, in lanes without that bit, or the other way round.
template <int kStep, int kCount>
__device__ inline void fold(double (&x)[kCount], int lane) {
  const bool upper = lane & kStep;
  BODVCL_UNROLL
  for (int i = 0; i < kStep; ++i) {
    const double sent = upper ? x[i] : x[i + kStep];
    x[i] = (upper ? x[i + kStep] : x[i]) + of_other_lane(sent, kStep);
  }
  if constexpr (kStep > 1) fold<kStep / 2>(x, lane);
}

// Lane l of a warp gets the sum of x[l % kCount] over the warp. Every exchange halves what is left to add, so
// that many sums cost little more than one. kCount is a power of two from 2 to 32.
template <int kCount>
__device__ inline double scattered_sums(double (&x)[kCount]) {
  fold<kCount / 2>(x, threadIdx.x & 31);
  BODVCL_UNROLL
  for (int step = kCount; step < 32; step *= 2) x[0] += of_other_lane(x[0], step);
  return x[0];
}

struct Warp {
  static constexpr bool kSerial = false;
  static constexpr bool kShared = true;
  static constexpr int kLanes = 32;
  __device__ int lane() const { return threadIdx.x & 31; }
  __device__ int size() const { return 32; }
  __device__ void sync() const { __syncwarp(); }
  // The butterfly adds the same pairs in every lane: all lanes get the same bits.
  __device__ double sum(double x) const {
    __syncwarp();
    BODVCL_UNROLL
    for (int step = 16; step; step >>= 1) x += of_other_lane(x, step);
    return x;
  }
  template <int kCount>
  __device__ void sums(double (&x)[kCount]) const {
    __syncwarp();
    BODVCL_UNROLL
    for (int step = 16; step; step >>= 1) {
      BODVCL_UNROLL
      for (int i = 0; i < kCount; ++i) x[i] += of_other_lane(x[i], step);
    }
  }
  template <int kCount, class F>
  __device__ void totals(double (&x)[kCount], F&& write) const {
    const double total = scattered_sums(x);
    if (lane() < kCount) write(lane(), total);
  }
  __device__ bool any(bool x) const {
    __syncwarp();
    return __any_sync(0xffffffffu, x);
  }
};

constexpr int kSlots = 8;  // sums that a block makes at a time

// A whole block; `slots` is shared memory for kSlots doubles per warp.
template <int kThreads, bool kInShared>
struct Block {
  static constexpr bool kSerial = false;
  static constexpr bool kShared = kInShared;
  static constexpr int kLanes = kThreads;
  static constexpr int kWarps = kThreads / 32;
  double* slots;
  __device__ int lane() const { return threadIdx.x; }
  __device__ int size() const { return kThreads; }
  __device__ void sync() const { __syncthreads(); }
  __device__ double sum(double x) const {
    double one[1] = {x};
    sums(one);
    return one[0];
  }
  template <int kCount>
  __device__ void sums(double (&x)[kCount]) const {
    static_assert(kCount <= kSlots);
    BODVCL_UNROLL
    for (int step = 16; step; step >>= 1) {
      BODVCL_UNROLL
      for (int i = 0; i < kCount; ++i) x[i] += of_other_lane(x[i], step);
    }
    __syncthreads();
    if ((threadIdx.x & 31) == 0) {
      BODVCL_UNROLL
      for (int i = 0; i < kCount; ++i) slots[(threadIdx.x >> 5) * kSlots + i] = x[i];
    }
    __syncthreads();
    BODVCL_UNROLL
    for (int i = 0; i < kCount; ++i) {
      x[i] = 0;
      BODVCL_UNROLL
      for (int w = 0; w < kWarps; ++w) x[i] += slots[w * kSlots + i];
    }
  }
  template <int kCount, class F>
  __device__ void totals(double (&x)[kCount], F&& write) const {
    static_assert(kCount <= kSlots);
    const double part = scattered_sums(x);
    __syncthreads();
    if ((threadIdx.x & 31) < kCount) slots[(threadIdx.x >> 5) * kSlots + (threadIdx.x & 31)] = part;
    __syncthreads();
    if (threadIdx.x < kCount) {
      double total = 0;
      BODVCL_UNROLL
      for (int w = 0; w < kWarps; ++w) total += slots[w * kSlots + threadIdx.x];
      write(int(threadIdx.x), total);
    }
  }
  __device__ bool any(bool x) const { return __syncthreads_or(x) != 0; }
};
#endif

// f(0), f(1), ... f(count - 1), divided over the lanes. No synchronisation. Not unrolled on a device: a
// kernel runs each of these loops once or twice, and then waits for instructions rather than for
// arithmetic.
template <class Group, class F>
BODVCL_HD inline void each(const Group& g, int count, F&& f) {
  BODVCL_ROLLED
  for (int i = g.lane(); i < count; i += g.size()) f(i);
}

// Elements of a lane where both numbers are known at compile time and few, else 0.
template <class Group, class N>
constexpr int kPerLane = Group::kLanes > 1 && kKnown<N> > 0 && kKnown<N> <= 4 * Group::kLanes
    ? (kKnown<N> + Group::kLanes - 1) / Group::kLanes
    : 0;

// to[i] = f(i) for i < count, divided over the lanes; f does not read `to`. Where the elements of a lane
// are few, all are computed before the first is stored, so that their loads overlap.
template <class Group, class N, class R, class F>
BODVCL_HD inline void assign(const Group& g, N count, R* to, F&& f) {
  constexpr int kOwn = kPerLane<Group, N>;
  if constexpr (kOwn > 0) {
    R value[kOwn];
    BODVCL_UNROLL
    for (int k = 0; k < kOwn; ++k) {
      const int i = g.lane() + k * Group::kLanes;
      value[k] = f(i < count ? i : int(count) - 1);
    }
    BODVCL_UNROLL
    for (int k = 0; k < kOwn; ++k) {
      const int i = g.lane() + k * Group::kLanes;
      if (i < count) to[i] = value[k];
    }
  } else {
    each(g, count, [&](int i) { to[i] = f(i); });
  }
}

// Tells the compiler where a pointer that a function was given points to.
template <class Group, class R>
BODVCL_HD inline void place([[maybe_unused]] const R* p) {
#ifdef __CUDA_ARCH__
  if constexpr (Group::kShared) __builtin_assume(__isShared(p));
#endif
}

}  // namespace BODVCL_ISA
}  // namespace bodvcl
