// Fused scans on the CPU: their arguments, and the table of each instruction set's version. All numbers are float32; for
// products in bf16, the factors are rounded first.
//
// h, c, gates and d are time-first. Up to one panel past the end of tensors marked "padded" may be read, but is not used.
#pragma once

#include <cstdint>

#include "program.h"

namespace unroll {

// dw[u, k] = sum over n of d[n, first + u] * from[n, k].
struct Gradient {
  long first, columns;
  const float* from;  // (n, k), padded, rows `stride` apart, with a jump after each run; null: ones, with k = 1
  long stride, k;
  float* dw;  // (columns, k)
};

struct Gradients {
  const float* d;  // (n, width), padded
  long n, width;
  long run, apart;  // consecutive rows in `from`; distance to the next run in rows
  const Gradient* parts;
  int count;
  bool add;  // to the previous values
};

// Some columns of d that are a left side.
struct Columns {
  long first, count;
};

// out[n, k] = start[n, k] + the sum over u of d[n, u] * w[u, k], for the columns u in `lefts`, one after the other.
struct Inputs {
  const float* d;  // (n, width)
  long n, width;
  const Columns* lefts;
  int count;
  const float* start;   // rows `width` apart, padded by a tile's rows; null: zero
  const float* packed;  // w, as pack() arranges it
  float* out;           // rows `row` apart
  long row, k;
};

// A stretch of time steps. Scanning forwards, state t is read and state t + 1 written; backwards, the other way round.
struct Scan {
  const program::Program* program;
  const program::Steps* steps;
  bool reverse;  // from the last time step to the first
  long batch, time;
  const std::int64_t* lengths;  // (batch), each from 0 to time; null: all full. Past it a state does not change.
  long first;                   // how many time steps precede the first ones of x, states, kept and dy
  float* const* states;         // for each part (slots, batch, width), padded
  long slots;                   // time + 1; or 2, which alternate
  float* kept;                  // (time, batch, kept), padded; null: not kept
  const float *x, *unit, *biases;
  long x_batch, x_time;
  const float* const* packed;  // the weights of each product of the steps, as pack() arranges them
  long panel;                  // registers in a panel of them: Kernels' panel, or wide for one sequence
};

struct Forward : Scan {
  float* copies;  // (time, batch, inputs), x as the gradients read it, 0 past each length; null: not saved
};

struct Backward : Scan {
  const float* dy;
  long dy_batch, dy_time;
  const float* const* packed_past;  // the weights of the products in `past`, part by part
  float* d;                         // (time, rows, d), padded: of `rows` sequences from first_row on
  long first_row, rows;
  float* total;
  float* const*
      ends;           // for each part (batch, width): gradients by the state after the stretch, then by that before it;
  bool wants_before;  // if requested
};

// h[t] = a[t] * h[t - 1] + b[t], element by element; everything (batch, time, hidden), states (batch, hidden).
struct Linear {
  bool reverse;
  long batch, time, hidden;
  const std::int64_t* lengths;
  const float *a, *b, *h0;
  float *y, *h_n;
};

struct LinearBackward {
  bool reverse;
  long batch, time, hidden;
  const std::int64_t* lengths;
  const float *a, *h0, *y, *dy, *dh;  // dy, dh: null: zero
  float *da, *db, *dh0;
};

// steps[t, b] = (x[starts[b] + t] - mean) * scale, feature by feature; 0 past the sequence's length.
struct Gather {
  const std::uint8_t* bytes;  // x: (steps of all, inputs); or null, and floats
  const float* floats;
  const std::int64_t *starts, *lengths;  // (batch), where in x each sequence begins, and its length
  const float *mean, *scale;             // (inputs)
  long batch, time, inputs;              // only the first `time` steps are taken
  float* steps;                          // (time, batch, inputs)
};

// A step of Adam on one parameter: its values, their gradient, and the running averages.
struct Update {
  float *values, *average, *square;
  const float* gradient;
  float scale;          // of the gradient, by clipping
  float decay, shrink;  // weight decay: factor of what is added to the gradient; or factor of the values
  float beta1, beta2;   // 1 - beta1 and 1 - beta2, the weights of the new values
  float rate, eps;      // lr / (1 - beta1^count) and eps, both times sqrt(1 - beta2^count)
};

// A row of a table that has steps of Adam to take, and its gradient in the last one.
struct Behind {
  long row, first;  // the step that it takes first
  const float* gradient;
};

// Consecutive steps of Adam on such rows; in all but the last one they have no gradient.
struct TableRows {
  float *values, *average, *square;  // (all, width)
  long width;
  const Behind* behind;
  const Update* steps;  // their factors
  long count;
  const float* zeros;  // (width)
};

// Weights as they are, or their transpose: the one of column c and factor i is at from[c * column + i * factor].
struct Matrix {
  const float* from;
  long column, factor, factors;
};

// One instruction set's version. Ranges are of the batch, of n (inputs), of values (update), of rows behind (table), and
// (gradients) of d's width, as fractions of each part's columns, so that all ranges of a size are equal work.
struct Kernels {
  const char* name;
  long width, panel, wide;       // floats in a register; registers in a panel, and in one for a single row
  long height;                   // rows that a product may read and write at once, past the last one, too
  long group;                    // sequences that take each step together, at most
  long share;                    // fewest sequences per thread
  long pair;                     // factors in a place of the packed weights: 1 in float32, 2 in bf16
  long (*places)(long factors);  // for a number of factors in a column of the packed weights
  void (*arrange)(float* to, long width, const Matrix&, long first, long columns);  // pack a panel of them; see pack.h
  long (*gradients_scratch)(const Gradients&);
  void (*gradients)(const Gradients&, long begin, long end, float* scratch);
  long (*inputs_scratch)(const Inputs&);
  void (*inputs)(const Inputs&, long begin, long end, float* scratch);
  long (*forward_scratch)(const Forward&);  // scratch floats per thread
  void (*forward)(const Forward&, long begin, long end, float* scratch);
  long (*backward_scratch)(const Backward&);
  void (*backward)(const Backward&, long begin, long end, float* scratch);
  void (*gather)(const Gather&, long begin, long end);
  void (*update)(const Update&, long begin, long end);
  void (*table)(const TableRows&, long begin, long end);
  void (*linear)(const Linear&, long begin, long end);
  void (*linear_backward)(const LinearBackward&, long begin, long end);
};

// Call each(first column, registers) for panels of nearly equal width that cover `columns`.
template <class Each>
static inline void each_panel(long columns, long width, long panel, const Each& each) {
  const long vectors = (columns + width - 1) / width, panels = (vectors + panel - 1) / panel;
  for (long i = 0, at = 0; i < panels; ++i) {
    const long used = (vectors - at + panels - i - 1) / (panels - i);
    each(at * width, used);
    at += used;
  }
}

}  // namespace unroll
