// Runs the CPU kernels of 64-bit ARM, without PyTorch: run_neon INPUT OUTPUT.
#include "../../csrc/cpu_kernels.h"
#include "problem_file.h"

int main(int, char** argv) {
  using namespace bodvcl;
  const CpuKernels& kernels = kernels_neon;
  ProblemFile file(argv[1]);
  const Problem& p = file.p;
  const ForwardData forward = file.forward();
  const BackwardData backward = file.backward();
  const int64_t groups = (p.clips + kernels.lanes - 1) / kernels.lanes;
  for (const bool back : {false, true}) {
    const int64_t bytes = (kernels.scratch(p, back) + 63) / 64 * 64;
    void* const scratch = aligned_alloc(64, bytes);
    for (int64_t group = 0; group < groups; ++group)
      back ? kernels.backward(p, backward, group, scratch) : kernels.forward(p, forward, group, scratch);
    free(scratch);
  }
  file.write(argv[2]);
}
