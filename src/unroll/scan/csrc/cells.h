// Each recurrence given its products, unit by unit, forward and backward, for one sequence at one time step.
//
// `raw` holds the step's products; before and after are the states around the step. In the backward pass, g is the gradient
// of the loss by the state after the step; the part of it that bypasses the products is returned in `carry`.

namespace unroll {
namespace CONCAT(in_, ISA) {

// Another thread may be writing after the last unit of h_before and c_before, so nothing past the units is read.
struct Step {
  const float *h_before, *c_before, *raw;
  float *h_after, *c_after, *gates;  // gates: null: not saved
};

struct StepBack {
  const float *h_before, *h_after, *c_before, *c_after, *gates;
  const float* dy;  // null: zero
  float *g, *carry, *dc, *d;
};

// The gradient by the outputs of n units from u on.
static inline Vec gradient(const StepBack& s, long u, long n) {
  return s.dy ? load(s.g + u) + load(s.dy + u, n) : load(s.g + u);
}

struct Tanh {
  static inline void forward(const Step& s, long, long u, long n) { store(s.h_after + u, tanh(load(s.raw + u)), n); }

  static inline void backward(const StepBack& s, long, long u, long n) {
    const Vec h = load(s.h_after + u);
    store(s.d + u, gradient(s, u, n) * (1 - h * h), n);
    store(s.carry + u, Vec{}, WIDTH);
  }
};

struct Relu {
  static inline void forward(const Step& s, long, long u, long n) {
    const Vec z = load(s.raw + u);
    store(s.h_after + u, z < 0 ? Vec{} : z, n);
  }

  static inline void backward(const StepBack& s, long, long u, long n) {
    store(s.d + u, load(s.h_after + u) > 0 ? gradient(s, u, n) : Vec{}, n);
    store(s.carry + u, Vec{}, WIDTH);
  }
};

// r = sigmoid(..), z = sigmoid(..), n = tanh(W_in x + b_in + r * q), q = W_hn h + b_hn, h' = (1 - z) * n + z * h.
struct Gru {
  static inline void forward(const Step& s, long hidden, long u, long count) {
    const Vec r = sigmoid(load(s.raw + u)), z = sigmoid(load(s.raw + hidden + u)), q = load(s.raw + 2 * hidden + u);
    const Vec n = tanh(load(s.raw + 3 * hidden + u) + r * q);
    store(s.h_after + u, n + z * (load(s.h_before + u, count) - n), count);
    if (!s.gates) return;
    store(s.gates + u, r, count);
    store(s.gates + hidden + u, z, count);
    store(s.gates + 2 * hidden + u, q, count);
    store(s.gates + 3 * hidden + u, n, count);
  }

  static inline void backward(const StepBack& s, long hidden, long u, long count) {
    const Vec r = load(s.gates + u), z = load(s.gates + hidden + u), q = load(s.gates + 2 * hidden + u),
              n = load(s.gates + 3 * hidden + u), g = gradient(s, u, count);
    const Vec dn = g * (1 - z) * (1 - n * n);
    store(s.d + u, dn * q * r * (1 - r), count);
    store(s.d + hidden + u, g * (load(s.h_before + u) - n) * z * (1 - z), count);
    store(s.d + 2 * hidden + u, dn * r, count);
    store(s.d + 3 * hidden + u, dn, count);
    store(s.carry + u, g * z, WIDTH);
  }
};

// i, f, o = sigmoid(..), g = tanh(..), c' = f * c + i * g, h' = o * tanh(c').
struct Lstm {
  static inline void forward(const Step& s, long hidden, long u, long n) {
    const Vec i = sigmoid(load(s.raw + u)), f = sigmoid(load(s.raw + hidden + u)),
              g = tanh(load(s.raw + 2 * hidden + u)), o = sigmoid(load(s.raw + 3 * hidden + u));
    const Vec c = f * load(s.c_before + u, n) + i * g;
    store(s.c_after + u, c, n);
    store(s.h_after + u, o * tanh(c), n);
    if (!s.gates) return;
    store(s.gates + u, i, n);
    store(s.gates + hidden + u, f, n);
    store(s.gates + 2 * hidden + u, g, n);
    store(s.gates + 3 * hidden + u, o, n);
  }

  static inline void backward(const StepBack& s, long hidden, long u, long n) {
    const Vec i = load(s.gates + u), f = load(s.gates + hidden + u), g = load(s.gates + 2 * hidden + u),
              o = load(s.gates + 3 * hidden + u), t = tanh(load(s.c_after + u)), dh = gradient(s, u, n);
    const Vec dc = load(s.dc + u) + dh * o * (1 - t * t);
    store(s.d + u, dc * g * i * (1 - i), n);
    store(s.d + hidden + u, dc * load(s.c_before + u) * f * (1 - f), n);
    store(s.d + 2 * hidden + u, dc * i * (1 - g * g), n);
    store(s.d + 3 * hidden + u, dh * t * o * (1 - o), n);
    store(s.dc + u, dc * f, WIDTH);
    store(s.carry + u, Vec{}, WIDTH);
  }
};

template <class F>
static inline void with_cell(Recurrence recurrence, const F& f) {
  switch (recurrence) {
    case Recurrence::tanh: return f(Tanh());
    case Recurrence::relu: return f(Relu());
    case Recurrence::gru: return f(Gru());
    case Recurrence::lstm: return f(Lstm());
    case Recurrence::linear: return;  // has its own kernels
  }
}

}  // namespace of the instruction set
}  // namespace unroll
