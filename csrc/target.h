// One source for every compiler target. Each instruction set gets a namespace of
// its own: the linker must never merge an AVX-512 copy of a template into the
// code that runs on an older processor.
#pragma once

#ifdef __CUDACC__
#define BODVCL_HD __host__ __device__
// A real function call on the device: inlining these everywhere multiplies the compile time.
#define BODVCL_CALL __host__ __device__ __noinline__
#else
#define BODVCL_HD
#define BODVCL_CALL inline
#endif

#ifdef __CUDA_ARCH__
#define BODVCL_UNROLL _Pragma("unroll")
#define BODVCL_ROLLED _Pragma("unroll 1")
#else
#define BODVCL_UNROLL
#define BODVCL_ROLLED
#endif

#ifndef BODVCL_ISA
#define BODVCL_ISA portable
#endif

// Doubles in a vector, and vector registers. Every 64-bit ARM processor has NEON: 32 registers of two doubles.
#if defined(__AVX512F__)
#define BODVCL_LANES 8
#define BODVCL_REGISTERS 32
#elif defined(__AVX2__)
#define BODVCL_LANES 4
#define BODVCL_REGISTERS 16
#elif defined(__aarch64__)
#define BODVCL_LANES 2
#define BODVCL_REGISTERS 32
#else
#define BODVCL_LANES 2
#define BODVCL_REGISTERS 16
#endif
