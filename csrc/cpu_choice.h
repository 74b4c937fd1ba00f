// The CPU kernels for this processor.
#pragma once

#include "cpu_kernels.h"

namespace bodvcl {

// The best table that this processor can run; BODVCL_CPU_ISA=baseline|avx2|avx512, or neon on 64-bit ARM, asks for
// one of them. Null where there is none.
const CpuKernels* choose_kernels();

}  // namespace bodvcl
