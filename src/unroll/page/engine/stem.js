import { linear, normalised } from "./vectors.js";

/** @import { StemDescription } from "../description.js" */
/** @import { Weight } from "./vectors.js" */

/** Two convolutions before the layers, as in unroll's models/stem.py. */
export class Stem {
  /**
   * @param {StemDescription} description
   * @param {Record<string, Weight>} weights of the model
   */
  constructor({ kernels, strides }, weights) {
    /** Time steps from one output to the next. */
    this.stride = strides.reduce((product, stride) => product * stride, 1);
    this.parts = kernels.map((kernel, number) => ({
      kernel,
      stride: strides[number],
      weight: weights[`stem.convolutions.${number}.weight`],
      bias: weights[`stem.convolutions.${number}.bias`],
      scale: weights[`stem.norms.${number}.weight`],
      offset: weights[`stem.norms.${number}.bias`],
    }));
  }

  /** Return the number of outputs for a number of time steps. */
  count(steps) {
    return Math.ceil(steps / this.stride);
  }

  /**
   * Return the outputs for time steps.
   *
   * @param {ArrayLike<number>[]} steps
   */
  read(steps) {
    return this.parts.reduce(
      (seen, { kernel, stride, weight, bias, scale, offset }) =>
        Array.from({ length: Math.ceil(seen.length / stride) }, (_, number) => {
          const around = valuesFrom(seen, number * stride - Math.floor((kernel - stride) / 2), kernel);
          return normalised(scale, offset, linear(weight, bias, around)).map((v) => Math.max(0, v));
        }),
      steps,
    );
  }
}

/** Return the values of `size` steps, one after the other; before the first and after the last step they are 0. */
function valuesFrom(steps, from, size) {
  const width = steps[0].length;
  const values = new Float64Array(size * width);
  for (let at = Math.max(0, -from); at < size && from + at < steps.length; at++) values.set(steps[from + at], at * width);
  return values;
}
