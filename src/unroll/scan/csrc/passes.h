// Whole scans: arrange the weights, and split the work of the kernels over threads. No Python.
#pragma once

#include <cstdint>

#include "memory.h"
#include "scan.h"

namespace unroll {

// The sizes that the passes of a scan share.
struct Layout {
  const Kernels* kernels;
  int threads;
  Recurrence recurrence;
  bool reverse;
  long batch, time, inputs, hidden;
  const std::int64_t* lengths;  // as in Scan

  long columns() const { return gates_of(recurrence) * hidden; }  // of gates and of d
  long rows() const { return (recurrence == Recurrence::gru ? 3 : gates_of(recurrence)) * hidden; }  // of the weights
};

// A scan with arranged weights and biases, in memory that the calling thread keeps until its next scan; the caller sets its
// inputs and outputs. Biases may be null.
Forward arranged(const Layout& a, const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh);

// h0, h, h_n and, for lstm, c0, c, c_n: the initial state (contiguous; null: zero), all states of which `slots` are kept (see
// Scan), the final one. Biases, steps and gates may be null.
void forward(const Layout& a, const float* x, long x_batch, long x_time, const float* w_ih, const float* w_hh,
             const float* b_ih, const float* b_hh, const float* h0, const float* c0, float* h, float* c, long slots,
             float* h_n, float* c_n, float* steps, float* gates);

// Compute all gradients from what forward() saved, at most `stretch` time steps at once; 0: as many as suit the caches. dh and
// dc: gradients of the final state before the call, of the initial state, if requested, after it. dy, db_ih with db_hh, and dx (time,
// batch, inputs) may be null.
void backward(const Layout& a, const float* w_ih, const float* w_hh, float* h, float* c, float* gates,
              const float* steps, const float* dy, long dy_batch, long dy_time, long stretch, float* dh, float* dc,
              bool wants_initial, float* dw_ih, float* dw_hh, float* db_ih, float* db_hh, float* dx);

// As Linear and LinearBackward, for layout's batch, time and hidden.
void linear(const Layout& a, const float* a_t, const float* b_t, const float* h0, float* y, float* h_n);

void linear_backward(const Layout& a, const float* a_t, const float* h0, const float* y, const float* dy,
                     const float* dh, float* da, float* db, float* dh0);

}  // namespace unroll
