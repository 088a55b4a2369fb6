#include "answer.h"

#include <algorithm>

#include "memory.h"
#include "pack.h"
#include "threads.h"

namespace unroll {
namespace {

// Point the scan to the sequences from `first` on.
void take(Forward& f, const Kernels& kernels, const Source& from, long first) {
  const long inputs = f.program->inputs, at = first * f.time * inputs;
  f.x = from.floats ? from.floats + at : nullptr, f.x_batch = f.time * inputs, f.x_time = inputs;
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
                 inputs,
                 room(steps, f.batch * f.time * inputs)};
  kernels.gather(g, 0, f.batch);
  f.x = g.steps, f.x_batch = inputs, f.x_time = f.batch * inputs;
}

// Scan from zero states to the final one, (batch, hidden).
const float* last(Forward& f, const Kernels& kernels) {
  static thread_local std::vector<Numbers> memory;
  const program::List<long>& widths = f.program->widths;
  if (static_cast<long>(memory.size()) < widths.count) memory.resize(widths.count);
  Parts states;
  for (long i = 0; i < widths.count; ++i) {
    const long numbers = f.batch * widths.items[i];
    states.push_back(room(memory[i], 2 * numbers));
    std::fill_n(states[i] + (f.reverse ? f.time % 2 * numbers : 0), numbers, 0.0f);
  }
  f.slots = 2, f.states = states.data();
  kernels.forward(f, 0, f.batch, scratch(kernels.forward_scratch(f)));
  return states[0] + (f.reverse ? 0 : f.time % 2 * f.batch * widths.items[0]);
}

// Equal numbers for each thread, at most as many as take each step together.
long groups(const Layout& a) {
  const long fewest = (a.batch + a.kernels->group - 1) / a.kernels->group, threads = a.threads;
  return std::min(a.batch, (fewest + threads - 1) / threads * threads);
}

}  // namespace

void answer(const Layout& a, const Source& from, const Tensors& tensors, const float* weight, const float* bias,
            long classes, float* logits) {
  static thread_local Numbers packed;
  const long hidden = a.program->widths.items[0], count = groups(a);
  const Forward all = arranged(a, tensors);
  pack(packed, *a.kernels, a.kernels->panel, classes, {{weight, hidden, 1, hidden}});
  const float* const of_head = packed.data();  // of this thread, for all of them
  each(count, a.threads, [&](long i) {
    const long first = a.batch * i / count;
    Forward f = all;
    f.batch = a.batch * (i + 1) / count - first;
    f.lengths = a.lengths ? a.lengths + first : nullptr;
    take(f, *a.kernels, from, first);
    float* const z = logits + first * classes;
    const Columns all_units{0, hidden};
    const Inputs head{last(f, *a.kernels), f.batch, hidden, &all_units, 1, nullptr, of_head, z, classes, classes};
    a.kernels->inputs(head, 0, f.batch, scratch(a.kernels->inputs_scratch(head)));
    for (long n = 0; n < f.batch * classes; ++n) z[n] += bias[n % classes];
  });
}

}  // namespace unroll
