// Fused scans on the CPU: what they take, and where each instruction set's version is found. All tensors are float32.
#pragma once

namespace unroll {

// h[t+1] = act(W_ih x[t] + b + W_hh h[t]); h[0] is given.
struct Forward {
  const float* x;        // (time, batch, inputs)
  float* h;              // (time + 1, batch, hidden)
  const float* packed;   // bias, W_ih and W_hh, as pack() arranges them
  long batch, time, inputs, hidden;
  bool relu;
};

// d[t] = act'(h[t+1]) * (dy[t] + W_hh^T d[t+1]), from the last time step to the first.
struct Backward {
  const float* h;        // as Forward left it
  const float* dy;       // (batch, time, hidden), strides in floats; null: zero
  long dy_batch, dy_time;
  const float* dh;       // (batch, hidden) gradient of the final state; null: zero
  float* d;              // (time, batch, hidden)
  float* dh0;            // (batch, hidden); null: not wanted
  const float* packed;   // W_hh, as pack() arranges it
  long batch, time, hidden;
  bool relu;
};

// dw[u, k] = sum over n of d[n, u] * from[n, k].
struct Weights {
  const float* d;        // (n, hidden)
  const float* from;     // (n, k), with room for a panel to be read behind it
  float* dw;             // (hidden, k)
  long n, hidden, k;
};

// out[n, k] = sum over u of d[n, u] * w[u, k].
struct Inputs {
  const float* d;        // (n, hidden)
  const float* packed;   // w, as pack() arranges it
  float* out;            // (n, k)
  long n, hidden, k;
};

// One instruction set's version. The ranges are of the batch, of the batch, of the rows of dw and of n.
struct Kernels {
  const char* name;
  long panel;            // units whose weights stand side by side
  void (*forward)(const Forward&, long begin, long end);
  void (*backward)(const Backward&, long begin, long end);
  void (*weights)(const Weights&, long begin, long end);
  void (*inputs)(const Inputs&, long begin, long end);
};

}  // namespace unroll
