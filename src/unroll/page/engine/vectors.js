import { addProduct } from "./step.js";

/* Vectors of 64-bit numbers, made of others and of weights, which keep their 32 bits. */

/** @typedef {{ shape: number[], data: Float32Array }} Weight */

/**
 * Return W x + b.
 *
 * @param {Weight} weight of shape [rows, columns]
 * @param {Weight | null} bias
 * @param {Float64Array} x
 */
export function linear(weight, bias, x) {
  const y = new Float64Array(weight.shape[0]);
  if (bias) y.set(bias.data);
  addProduct(y, weight.data, 0, x);
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
  let [sum, squares] = [0, 0]; // loops, as long series are read mostly here, and calling functions takes twice as long
  for (let unit = 0; unit < x.length; unit++) sum += x[unit];
  const mean = sum / x.length;
  for (let unit = 0; unit < x.length; unit++) squares += (x[unit] - mean) ** 2;
  const deviation = Math.sqrt(squares / x.length + 1e-5);
  const y = new Float64Array(x.length);
  for (let unit = 0; unit < x.length; unit++) y[unit] = ((x[unit] - mean) / deviation) * scale.data[unit] + offset.data[unit];
  return y;
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
