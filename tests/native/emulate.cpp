// Runs the cooperative clip functions of the CUDA kernels on the CPU, one thread
// per lane: emulate INPUT OUTPUT. Any missing synchronisation is a data race that
// -fsanitize=thread reports.
#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../../csrc/cooperative.h"

using namespace bodvcl;
using namespace bodvcl::portable;

// Two barriers in turn: a thread that leaves one late must not see what others did on
// the way to the next, or the sanitizer would take that for synchronisation.
struct Meeting {
  pthread_barrier_t barriers[2];
  std::vector<double> slots;
};

// kKnownLanes: their number where kernels know it when they are compiled, else 0.
template <int kKnownLanes>
struct Crew {
  static constexpr bool kSerial = false;
  static constexpr bool kShared = false;
  static constexpr int kLanes = kKnownLanes;
  int id, count;
  Meeting* meeting;
  unsigned* turn;
  int lane() const { return id; }
  int size() const { return count; }
  void sync() const { pthread_barrier_wait(&meeting->barriers[(*turn)++ % 2]); }
  double sum(double x) const {
    sync();
    meeting->slots[id] = x;
    sync();
    double total = 0;
    for (double v : meeting->slots) total += v;
    return total;
  }
  template <int kCount>
  void sums(double (&x)[kCount]) const {
    for (double& v : x) v = sum(v);
  }
  template <int kCount, class F>
  void totals(double (&x)[kCount], F&& write) const {
    for (int i = 0; i < kCount; ++i) {
      const double total = sum(x[i]);
      if (i % count == id) write(i, total);
    }
  }
  bool any(bool x) const { return sum(x ? 1.0 : 0.0) > 0; }
};

template <class T>
std::vector<T> read(FILE* f, size_t count) {
  std::vector<T> v(count);
  if (fread(v.data(), sizeof(T), count, f) != count) abort();
  return v;
}

void write(FILE* f, const std::vector<double>& v) { fwrite(v.data(), sizeof(double), v.size(), f); }

// One crew takes all clips through both passes. T: int, or Fixed for the number of frames.
template <int kKnownLanes, class T>
void run(
    const Problem& p, const ForwardData& forward, const BackwardData& backward, int lanes, int stage_bytes) {
  using Member = Crew<kKnownLanes>;
  Meeting meeting{{}, std::vector<double>(lanes)};
  for (auto& barrier : meeting.barriers) pthread_barrier_init(&barrier, nullptr, lanes);
  Clip<Member, double, T> counter(Member{0, 1, &meeting, nullptr}, p);
  // Poisoned, so that a number read before it was written shows.
  std::vector<double> memory(counter.layout(nullptr, true) + p.width, NAN);
  const int staged = staged_width<double>(p, stage_bytes);
  std::vector<double> stage(p.frames * staged, NAN);
  std::vector<std::thread> crew;
  for (int lane = 0; lane < lanes; ++lane)
    crew.emplace_back([&, lane] {
      unsigned turn = 0;
      const Member me{lane, lanes, &meeting, &turn};
      for (int64_t clip = 0; clip < p.clips; ++clip)
        forward_clip<T>(me, p, forward, clip, memory.data(), stage.data(), staged);
      me.sync();
      for (int64_t clip = 0; clip < p.clips; ++clip)
        backward_clip<T, double>(me, p, backward, clip, memory.data());
    });
  for (auto& thread : crew) thread.join();
}

int main(int, char** argv) {
  FILE* in = fopen(argv[1], "rb");
  const auto ints = read<int64_t>(in, 12);
  const auto reals = read<double>(in, 4);
  Problem p{};
  p.clips = ints[0];
  p.frames = int(ints[1]);
  p.width = int(ints[2]);
  p.smooth = ints[3] != 0;
  p.smooth_log2 = p.smooth ? int(ints[4]) : 0;
  p.projector = ints[5] != 0;
  p.rank = int(ints[6]);
  p.per_frame = ints[7] != 0;
  p.spread = ints[7] == 2;
  const int lanes = int(ints[8]);
  const bool masked = ints[9] != 0;
  const int stage_bytes = int(ints[10]);
  const bool special = ints[11] != 0;  // the kernels of one number of frames
  p.xi = reals[0];
  p.rtol = reals[1];
  p.ridge = reals[2];
  p.ridged = drops_nothing(p.ridge, p.rank);
  p.max_gain = reals[3];
  const size_t b = p.clips, t = p.frames, m = p.width, n = t - 1, q = stream_rows(p);
  const auto x = read<double>(in, b * t * m);
  const auto mask = read<char>(in, masked ? b * t : 0);
  const auto grad_static = read<double>(in, b * q * m);
  const auto grad_dynamic = read<double>(in, b * q * m);
  const auto grad_losses = read<double>(in, b * kLosses);
  fclose(in);

  std::vector<double> fixed(b * q * m), dynamic(b * q * m), losses(b * kLosses), stats(b * kStats),
      reduced(b * n * n), saved(b * saved_size(int(t), p.smooth)), grad(b * t * m), gain(b);
  const bool* const valid = masked ? reinterpret_cast<const bool*>(mask.data()) : nullptr;
  const ForwardData forward{x.data(),      valid,        fixed.data(),   dynamic.data(),
                            losses.data(), stats.data(), reduced.data(), saved.data()};
  const BackwardData backward{grad_static.data(), grad_dynamic.data(), grad_losses.data(), x.data(), valid,
                              saved.data(),       grad.data(),         gain.data()};

  if (!special)
    run<0, int>(p, forward, backward, lanes, stage_bytes);
  else if (p.frames == 8)
    run<32, Fixed<8>>(p, forward, backward, 32, stage_bytes);
  else if (p.frames == 16)
    run<32, Fixed<16>>(p, forward, backward, 32, stage_bytes);
  else
    abort();

  FILE* out = fopen(argv[2], "wb");
  for (const auto* v : {&fixed, &dynamic, &losses, &stats, &reduced, &saved, &grad, &gain}) write(out, *v);
  fclose(out);
}
