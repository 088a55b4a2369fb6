/*
 * The recurrent cells, one class each: one time step of the state. The equations, the order of the gates and the names
 * of the weights are those of torch.nn, or of unroll's Python cells if torch.nn has no such cell.
 *
 * A cell has start(), the state before the first step, and step(x, state), the state after reading x. A state is never
 * changed in place: it is {hidden, gates}, with further arrays if the cell's memory is larger than its output. All
 * arrays have 64-bit numbers; the weights keep their 32 bits.
 */

/** @typedef {{ shape: number[], data: Float32Array }} Weight */

/**
 * @typedef {object} State
 * @property {Float64Array} hidden
 * @property {Record<string, Float64Array>} gates
 * @property {Float64Array} [memory] of an LSTM
 * @property {Float64Array} [turning] of an LRU
 */

const sigmoid = (v) => 1 / (1 + Math.exp(-v));

/**
 * Return W x + b.
 *
 * @param {Weight} weight of shape [rows, columns]
 * @param {Weight | null} bias
 * @param {ArrayLike<number>} x
 */
export function linear(weight, bias, x) {
  const [rows, columns] = weight.shape;
  const w = weight.data;
  const y = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    let sum = bias ? bias.data[row] : 0;
    for (let column = 0; column < columns; column++) sum += w[at++] * x[column];
    y[row] = sum;
  }
  return y;
}

/**
 * Return x with mean 0 and deviation 1, times a scale, plus an offset.
 *
 * @param {Weight} scale
 * @param {Weight} offset
 * @param {Float64Array} x
 */
export function normalised(scale, offset, x) {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
  return x.map((v, unit) => ((v - mean) / Math.sqrt(variance + 1e-5)) * scale.data[unit] + offset.data[unit]);
}

/**
 * Return an array of as many numbers as `size`, each made by `number(index)`.
 *
 * @type {(size: number, number: (index: number) => number) => Float64Array}
 */
export const filled = (size, number) => Float64Array.from({ length: size }, (_, index) => number(index));

/** Elman's cell: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu instead of tanh. */
class RNNCell {
  /**
   * @param {Record<string, Weight>} weights
   * @param {number} size
   * @param {string} nonlinearity
   */
  constructor(weights, size, nonlinearity) {
    this.weights = weights;
    this.size = size;
    this.activation = nonlinearity === "relu" ? (v) => Math.max(0, v) : Math.tanh;
  }

  /** @returns {State} */
  start() {
    return { hidden: new Float64Array(this.size), gates: {} };
  }

  /**
   * @param {ArrayLike<number>} x
   * @param {State} state
   * @returns {State}
   */
  step(x, { hidden }) {
    const { weight_ih, weight_hh, bias_ih, bias_hh } = this.weights;
    const input = linear(weight_ih, bias_ih, x);
    const memory = linear(weight_hh, bias_hh, hidden);
    return { hidden: input.map((v, unit) => this.activation(v + memory[unit])), gates: {} };
  }
}

/** Independently recurrent: h' = tanh(W_ih x + u h + b), or relu instead of tanh. */
class IndRNNCell extends RNNCell {
  step(x, { hidden }) {
    const { weight_ih, weight_hh, bias } = this.weights;
    const input = linear(weight_ih, bias, x);
    return { hidden: input.map((v, unit) => this.activation(v + weight_hh.data[unit] * hidden[unit])), gates: {} };
  }
}

/** Gated recurrent unit: h' = (1 - z) n + z h, with the reset gate r inside n. */
class GRUCell extends RNNCell {
  step(x, { hidden }) {
    const { weight_ih, weight_hh, bias_ih, bias_hh } = this.weights;
    const n = this.size;
    const input = linear(weight_ih, bias_ih, x);
    const memory = linear(weight_hh, bias_hh, hidden);
    const reset = filled(n, (u) => sigmoid(input[u] + memory[u]));
    const update = filled(n, (u) => sigmoid(input[n + u] + memory[n + u]));
    const candidate = filled(n, (u) => Math.tanh(input[2 * n + u] + reset[u] * memory[2 * n + u]));
    const next = filled(n, (u) => (1 - update[u]) * candidate[u] + update[u] * hidden[u]);
    return { hidden: next, gates: { reset, update, candidate } };
  }
}

/** Long short-term memory: c' = f c + i g, h' = o tanh(c'). */
class LSTMCell extends RNNCell {
  start() {
    return { hidden: new Float64Array(this.size), memory: new Float64Array(this.size), gates: {} };
  }

  step(x, state) {
    const { weight_ih, weight_hh, bias_ih, bias_hh } = this.weights;
    const n = this.size;
    const sum = linear(weight_ih, bias_ih, x);
    linear(weight_hh, bias_hh, state.hidden).forEach((v, at) => (sum[at] += v));
    const input = filled(n, (u) => sigmoid(sum[u]));
    const forget = filled(n, (u) => sigmoid(sum[n + u]));
    const cell = filled(n, (u) => Math.tanh(sum[2 * n + u]));
    const output = filled(n, (u) => sigmoid(sum[3 * n + u]));
    const memory = filled(n, (u) => forget[u] * state.memory[u] + input[u] * cell[u]);
    const hidden = filled(n, (u) => output[u] * Math.tanh(memory[u]));
    return { hidden, memory, gates: { input, forget, cell, output, memory } };
  }
}

/** Minimal GRU: h' = (1 - z) h + z h̃, and z and h̃ see the input alone. */
class MinGRUCell extends RNNCell {
  step(x, { hidden }) {
    const n = this.size;
    const sum = linear(this.weights.weight_ih, this.weights.bias, x);
    const keep = filled(n, (u) => sigmoid(-sum[u]));
    const candidate = sum.slice(n);
    return {
      hidden: filled(n, (u) => keep[u] * hidden[u] + sigmoid(sum[u]) * candidate[u]),
      gates: { keep, candidate },
    };
  }
}

/** Minimal LSTM: h' = f' h + i' h̃ with f' = f / (f + i), i' = 1 - f'; all of them see the input alone. */
class MinLSTMCell extends RNNCell {
  step(x, { hidden }) {
    const n = this.size;
    const sum = linear(this.weights.weight_ih, this.weights.bias, x);
    const logSigmoid = (v) => Math.min(v, 0) - Math.log1p(Math.exp(-Math.abs(v)));
    const ratio = filled(n, (u) => logSigmoid(sum[u]) - logSigmoid(sum[n + u]));
    const keep = ratio.map(sigmoid);
    const candidate = sum.slice(2 * n);
    const next = filled(n, (u) => keep[u] * hidden[u] + sigmoid(-ratio[u]) * candidate[u]);
    return { hidden: next, gates: { keep, candidate } };
  }
}

/** Linear recurrent unit: complex numbers s' = λ s + γ (B x), of which h' = gelu(Re(C s') + D x) is shown. */
class LRUCell extends RNNCell {
  start() {
    return { hidden: new Float64Array(this.size), turning: new Float64Array(2 * this.size), gates: {} };
  }

  /**
   * @param {ArrayLike<number>} x
   * @param {State} state
   */
  step(x, { turning }) {
    const { nu_log, theta_log, gamma_log, weight_ih, weight_ho, weight_io } = this.weights;
    const n = this.size;
    const drive = linear(weight_ih, null, x);
    const next = new Float64Array(2 * n);
    for (let u = 0; u < n; u++) {
      const radius = Math.exp(-Math.exp(nu_log.data[u]));
      const angle = Math.exp(theta_log.data[u]);
      const gain = Math.exp(gamma_log.data[u]);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const [real, imaginary] = [turning[u], turning[n + u]];
      next[u] = radius * (real * cos - imaginary * sin) + gain * drive[u];
      next[n + u] = radius * (real * sin + imaginary * cos) + gain * drive[n + u];
    }
    const shown = linear(weight_ho, null, next);
    linear(weight_io, null, x).forEach((v, unit) => (shown[unit] += v));
    return { hidden: shown.map(gelu), turning: next, gates: { real: next.slice(0, n), imaginary: next.slice(n) } };
  }
}

/** Gaussian error linear unit: v Φ(v). Source of Φ: Abramowitz and Stegun, formula 7.1.26, within 1.5e-7. */
function gelu(v) {
  const z = Math.abs(v) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const erf = 1 - tail * Math.exp(-z * z);
  return 0.5 * v * (1 + Math.sign(v) * erf);
}

export const CELLS = {
  rnn: RNNCell,
  gru: GRUCell,
  lstm: LSTMCell,
  indrnn: IndRNNCell,
  mingru: MinGRUCell,
  minlstm: MinLSTMCell,
  lru: LRUCell,
};
