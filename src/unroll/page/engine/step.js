import { decode } from "./decode.js";

/** @import { CellDescription, Step } from "../description.js" */

/*
 * A recurrent cell, and what its step is made of. The step itself comes from the cell's equation in Python: see the
 * object STEPS at the beginning of the page's script.
 */

/**
 * A state: its parts, of which the first is the hidden state, and the gates that made it. None of it is ever changed in
 * place.
 *
 * @typedef {{ hidden: Float64Array, parts: Float64Array[], gates: Record<string, Float64Array> }} State
 */

/** A recurrent cell with its weights. */
export class Cell {
  #step;
  #weights;
  #start;

  /**
   * @param {CellDescription} description
   * @param {Record<string, Step>} steps
   */
  constructor(description, steps) {
    this.gates = description.gates;
    this.#step = steps[description.step];
    this.#weights = description.weights.map(decode.floats);
    this.#start = description.start.map((part) => Float64Array.from(decode.floats(part)));
  }

  /**
   * The state before the first step.
   *
   * @returns {State}
   */
  start() {
    return { hidden: this.#start[0], parts: this.#start, gates: {} };
  }

  /**
   * The state after reading x.
   *
   * @param {ArrayLike<number>} x
   * @param {State} state
   * @returns {State}
   */
  step(x, { parts }) {
    const { state, gates } = this.#step(Float64Array.from(x), parts, this.#weights);
    return { hidden: state[0], parts: state, gates };
  }
}

/**
 * Add W v to sums. The weight of a row and a column is at offset + across row + along column.
 *
 * @param {Float64Array} sums
 * @param {Float32Array} weights
 * @param {number} offset
 * @param {Float64Array} v
 */
export function addProduct(sums, weights, offset, v, across = v.length, along = 1) {
  const [rows, columns] = [sums.length, v.length];
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    let [a, b, c, d] = [0, 0, 0, 0]; // four rows at once, as each addition waits for the one before
    let at = offset + across * row;
    for (let column = 0; column < columns; column++, at += along) {
      const number = v[column];
      a += weights[at] * number;
      b += weights[at + across] * number;
      c += weights[at + 2 * across] * number;
      d += weights[at + 3 * across] * number;
    }
    sums[row] += a;
    sums[row + 1] += b;
    sums[row + 2] += c;
    sums[row + 3] += d;
  }
  for (; row < rows; row++) {
    let sum = 0;
    for (let column = 0, at = offset + across * row; column < columns; column++, at += along) {
      sum += weights[at] * v[column];
    }
    sums[row] += sum;
  }
}

/**
 * Add weights to sums; that of a unit is at offset + stride unit.
 *
 * @param {Float64Array} sums
 * @param {Float32Array} weights
 * @param {number} offset
 */
export function addVector(sums, weights, offset, stride = 1) {
  for (let unit = 0; unit < sums.length; unit++) sums[unit] += weights[offset + stride * unit];
}

/**
 * The sum of a vector's numbers.
 *
 * @param {Float64Array} v
 */
export const total = (v) => v.reduce((sum, number) => sum + number, 0);

/**
 * The greatest of a vector's numbers; NaN if there is one.
 *
 * @param {Float64Array} v
 */
export const greatest = (v) => v.reduce((most, number) => Math.max(most, number), -Infinity);

export const sigmoid = (v) => 1 / (1 + Math.exp(-v));

/**
 * The error function: 2/√π e^(-v²) times the sum of 2ⁿ v^(2n+1) / (1·3·5 … (2n+1)), to 1e-12.
 *
 * @param {number} v
 */
export function erf(v) {
  if (Math.abs(v) > 6) return Math.sign(v); // 1 - erf(6) is below 1e-16
  let [sum, term] = [v, v];
  for (let odd = 3; Math.abs(term) > 1e-13 * Math.abs(sum); odd += 2) sum += term *= (2 * v * v) / odd;
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}
