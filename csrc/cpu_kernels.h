// The CPU kernels as the operators see them: one table per instruction set.
#pragma once

#include "problem.h"

namespace bodvcl {

// Clips are processed in groups of `lanes`. `scratch` bytes, 64-byte aligned, serve one thread.
struct CpuKernels {
  const char* name;
  int lanes;
  int64_t (*scratch)(const Problem&, bool backward);
  void (*forward)(const Problem&, const ForwardData&, int64_t group, void* scratch);
  void (*backward)(const Problem&, const BackwardData&, int64_t group, void* scratch);
};

extern const CpuKernels kernels_baseline;
extern const CpuKernels kernels_avx2;
extern const CpuKernels kernels_avx512;
extern const CpuKernels kernels_neon;

}  // namespace bodvcl
