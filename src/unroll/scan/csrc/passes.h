// Whole scans: arrange the weights, and split the work of the kernels over threads. No Python.
#pragma once

#include <cstdint>
#include <vector>

#include "scan.h"

namespace unroll {

// What the passes of a scan share.
struct Layout {
  const Kernels* kernels;
  int threads;
  const program::Program* program;
  bool reverse;
  long batch, time;
  const std::int64_t* lengths;  // as in Scan
};

using Tensors = std::vector<const float*>;  // those that the program reads its weights from, contiguous
using Parts = std::vector<float*>;          // one tensor for each part of the state

// A scan without gradients, with arranged weights, in memory that the calling thread keeps until its next scan; the caller sets
// its inputs and outputs.
Forward arranged(const Layout& a, const Tensors& tensors);

// initial, states, ends: for each part the initial state (contiguous; null: zero), all states of which `slots` are kept (see
// Scan), the final one. steps (time, batch, inputs), padded, and kept are for the backward pass, and may be null.
void forward(const Layout& a, const Tensors& tensors, const float* x, long x_batch, long x_time, const Tensors& initial,
             const Parts& states, long slots, const Parts& ends, float* steps, float* kept);

// Compute all gradients from what forward() saved, at most `stretch` time steps at once; 0: as many as suit the caches.
// ends: for each part the gradient by the final state before the call, by the initial one, if requested, after it. grads: for
// each tensor what its gradient is added to; null: not wanted. dy and dx (time, batch, inputs) may be null.
void backward(const Layout& a, const Tensors& tensors, const Parts& states, float* kept, const float* steps,
              const float* dy, long dy_batch, long dy_time, long stretch, const Parts& ends, bool wants_initial,
              const Parts& grads, float* dx);

// As Linear and LinearBackward.
void linear(const Kernels& kernels, int threads, const Linear& scan);

void linear_backward(const Kernels& kernels, int threads, const LinearBackward& scan);

}  // namespace unroll
