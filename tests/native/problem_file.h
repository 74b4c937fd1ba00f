// The files of the test programs: a problem and its tensors come in, what both passes give goes out. The
// other end is problem_file.py.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../csrc/problem.h"

namespace bodvcl {

using Bytes = std::vector<char>;

template <class T>
std::vector<T> read_numbers(FILE* f, size_t count) {
  std::vector<T> v(count);
  if (fread(v.data(), sizeof(T), count, f) != count) abort();
  return v;
}

struct ProblemFile {
  Problem p{};
  std::vector<int64_t> own;  // three numbers for the program itself
  Bytes features, mask, grad_static, grad_dynamic, grad_losses;
  Bytes fixed, dynamic, losses, stats, reduced, saved, grad_features, gain;

  explicit ProblemFile(const char* path) {
    FILE* const f = fopen(path, "rb");
    if (f == nullptr) abort();
    const auto ints = read_numbers<int64_t>(f, 10);
    own = read_numbers<int64_t>(f, 3);
    const auto reals = read_numbers<double>(f, 4);
    p.clips = ints[0];
    p.frames = int(ints[1]);
    p.width = int(ints[2]);
    p.smooth = ints[3] != 0;
    p.smooth_log2 = p.smooth ? int(ints[4]) : 0;
    p.projector = ints[5] != 0;
    p.rank = int(ints[6]);
    p.per_frame = ints[7] != 0;
    p.spread = ints[7] == 2;
    p.dtype = DType(ints[9]);
    p.xi = reals[0];
    p.rtol = reals[1];
    p.ridge = reals[2];
    p.ridged = drops_nothing(p.ridge, p.rank);
    p.max_gain = reals[3];
    const size_t size = p.dtype == DType::kDouble ? 8 : p.dtype == DType::kFloat ? 4 : 2, wide = sizeof(double);
    const size_t b = p.clips, t = p.frames, m = p.width, n = t - 1, q = stream_rows(p);
    features = read_numbers<char>(f, b * t * m * size);
    mask = read_numbers<char>(f, ints[8] != 0 ? b * t : 0);
    grad_static = read_numbers<char>(f, b * q * m * size);
    grad_dynamic = read_numbers<char>(f, b * q * m * size);
    grad_losses = read_numbers<char>(f, b * kLosses * wide);
    fclose(f);
    fixed.resize(b * q * m * size);
    dynamic.resize(b * q * m * size);
    losses.resize(b * kLosses * wide);
    stats.resize(b * kStats * wide);
    reduced.resize(b * n * n * wide);
    saved.resize(b * saved_size(int(t), p.smooth) * wide);
    grad_features.resize(b * t * m * size);
    gain.resize(b * wide);
  }

  const bool* frame_mask() const {
    return mask.empty() ? nullptr : reinterpret_cast<const bool*>(mask.data());
  }
  static double* numbers(Bytes& v) { return reinterpret_cast<double*>(v.data()); }
  static const double* numbers(const Bytes& v) { return reinterpret_cast<const double*>(v.data()); }

  ForwardData forward() {
    return {features.data(), frame_mask(),   fixed.data(),     dynamic.data(),
            numbers(losses), numbers(stats), numbers(reduced), numbers(saved)};
  }
  BackwardData backward() {
    return {grad_static.data(), grad_dynamic.data(), numbers(grad_losses),  features.data(),
            frame_mask(),       numbers(saved),      grad_features.data(), numbers(gain)};
  }

  void write(const char* path) const {
    FILE* const f = fopen(path, "wb");
    if (f == nullptr) abort();
    for (const Bytes* v : {&fixed, &dynamic, &losses, &stats, &reduced, &saved, &grad_features, &gain})
      if (fwrite(v->data(), 1, v->size(), f) != v->size()) abort();
    if (fclose(f) != 0) abort();
  }
};

}  // namespace bodvcl
