/* Vectors of 64-bit numbers, made of others and of weights, which keep their 32 bits. */

/** @typedef {{ shape: number[], data: Float32Array }} Weight */

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

/**
 * Concatenate arrays of numbers.
 *
 * @param {Float64Array[]} parts
 */
export function joined(...parts) {
  const all = new Float64Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
