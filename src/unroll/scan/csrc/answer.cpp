#include "answer.h"

#include <algorithm>

#include "pack.h"
#include "threads.h"

namespace unroll {
namespace {

// The sequences in memory, and their scaling; see answer().
struct Source {
  const std::uint8_t* bytes;
  const float *floats, *mean, *scale;
};

// Point the scan to the sequences from `first` on.
void take(Forward& f, const Kernels& kernels, const Source& from, long first) {
  const long at = first * f.time * f.inputs;
  f.x = from.floats ? from.floats + at : nullptr, f.x_batch = f.time * f.inputs, f.x_time = f.inputs;
  if (!from.mean) return;
  static thread_local Numbers steps;
  static thread_local std::vector<std::int64_t> starts, full;
  starts.resize(f.batch), full.assign(f.batch, f.time);
  for (long b = 0; b < f.batch; ++b) starts[b] = b * f.time;
  const Gather g{from.bytes ? from.bytes + at : nullptr,
                 f.x,
                 starts.data(),
                 f.lengths ? f.lengths : full.data(),
                 from.mean,
                 from.scale,
                 f.batch,
                 f.time,
                 f.inputs,
                 room(steps, f.batch * f.time * f.inputs)};
  kernels.gather(g, 0, f.batch);
  f.x = g.steps, f.x_batch = f.inputs, f.x_time = f.batch * f.inputs;
}

// Scan from zero states to the final one, (batch, hidden).
const float* last(Forward& f, const Kernels& kernels) {
  static thread_local Numbers h, c;
  const long states = f.batch * f.hidden;
  f.slots = 2;
  f.h = room(h, 2 * states), std::fill_n(f.h, states, 0.0f);
  if (f.recurrence == Recurrence::lstm) f.c = room(c, 2 * states), std::fill_n(f.c, states, 0.0f);
  kernels.forward(f, 0, f.batch, scratch(kernels.scratch(f)));
  return f.h + f.time % 2 * states;
}

// Equal numbers for each thread, at most as many as take each step together.
long groups(const Layout& a) {
  const long fewest = (a.batch + a.kernels->group - 1) / a.kernels->group, threads = a.threads;
  return std::min(a.batch, (fewest + threads - 1) / threads * threads);
}

}  // namespace

void answer(const Layout& a, const std::uint8_t* bytes, const float* floats, const float* mean, const float* scale,
            const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh, const float* w_out,
            const float* b_out, long classes, float* logits) {
  static thread_local Numbers packed;
  const Forward all = arranged(a, w_ih, w_hh, b_ih, b_hh);
  pack(packed, *a.kernels, a.kernels->panel, classes, {{w_out, a.hidden, 1, a.hidden}});
  const float* const of_head = packed.data();  // of this thread, for all of them
  const long count = groups(a);
  each(count, a.threads, [&](long i) {
    const long first = a.batch * i / count;
    Forward f = all;
    f.batch = a.batch * (i + 1) / count - first;
    f.lengths = a.lengths ? a.lengths + first : nullptr;
    take(f, *a.kernels, {bytes, floats, mean, scale}, first);
    float* const z = logits + first * classes;
    const Columns all_units{0, a.hidden};
    const Inputs head{last(f, *a.kernels), f.batch, a.hidden, &all_units, 1, nullptr, of_head, z, classes, classes};
    a.kernels->inputs(head, 0, f.batch, scratch(a.kernels->inputs_scratch(head)));
    for (long n = 0; n < f.batch * classes; ++n) z[n] += b_out[n % classes];
  });
}

}  // namespace unroll
