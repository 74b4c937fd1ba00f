// Runs the cooperative clip functions of the CUDA kernels on the CPU, one thread
// per lane: emulate INPUT OUTPUT. Any missing synchronisation is a data race that
// -fsanitize=thread reports.
#include <pthread.h>

#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../../csrc/cooperative.h"
#include "problem_file.h"

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
  ProblemFile file(argv[1]);
  const Problem& p = file.p;
  const int lanes = int(file.own[0]), stage_bytes = int(file.own[1]);
  const bool special = file.own[2] != 0;  // the kernels of one number of frames
  const ForwardData forward = file.forward();
  const BackwardData backward = file.backward();
  if (!special)
    run<0, int>(p, forward, backward, lanes, stage_bytes);
  else if (p.frames == 8)
    run<32, Fixed<8>>(p, forward, backward, 32, stage_bytes);
  else if (p.frames == 16)
    run<32, Fixed<16>>(p, forward, backward, 32, stage_bytes);
  else
    abort();
  file.write(argv[2]);
}
