// Which CPU kernels this processor can run. Compiled for any processor, and free of torch: it is asked before a
// kernel runs, and by the loader.
#include "cpu_choice.h"

#include <cstdlib>
#include <cstring>

namespace bodvcl {
namespace {

bool supported(const CpuKernels& k) {
#if defined(__x86_64__)
  const bool v2 = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") &&
      __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
  if (std::strcmp(k.name, "avx512") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(k.name, "avx2") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2");
  if (!v2) return false;
#endif
  return true;  // baseline, or neon, which every 64-bit ARM processor has
}

}  // namespace

const CpuKernels* choose_kernels() {
  static const CpuKernels* const tables[] = {
#ifdef BODVCL_HAS_AVX512
      &kernels_avx512,
#endif
#ifdef BODVCL_HAS_AVX2
      &kernels_avx2,
#endif
#ifdef BODVCL_HAS_BASELINE
      &kernels_baseline,
#endif
#ifdef BODVCL_HAS_NEON
      &kernels_neon,
#endif
  };
  const char* const wanted = std::getenv("BODVCL_CPU_ISA");
  const bool any = wanted == nullptr || *wanted == '\0';
  for (const CpuKernels* k : tables)
    if (supported(*k) && (any || std::strcmp(wanted, k->name) == 0)) return k;
  return nullptr;
}

}  // namespace bodvcl

extern "C" __attribute__((visibility("default"))) const char* bodvcl_cpu_isa() {
  const bodvcl::CpuKernels* const best = bodvcl::choose_kernels();
  return best == nullptr ? "" : best->name;
}
