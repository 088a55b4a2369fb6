import { scaled } from "./images.js";

/** @import { Preparation } from "../description.js" */

/* A time series made into what the model was trained on, as unroll's data/preparation.py does it. */
export const Series = {
  /**
   * Return the time steps, arrays of scaled features, that the model reads of `values`: [time][features], NaN where one
   * is missing.
   *
   * A missing value is the last one before it, at the beginning the mean in training; where the model was trained to,
   * it is told of the gap by a further feature that is 1.
   *
   * @param {number[][]} values
   * @param {Preparation} preparation
   */
  sequence(values, { missing, offset, scaling }) {
    const last = missing ? [...missing.means] : [];
    return Array.from(values, (step) => {
      const gaps = Array.from(step, (v) => (Number.isNaN(v) ? 1 : 0));
      if (!missing && gaps.includes(1))
        throw new Error("a value is missing, and the model has not learned what to put there");
      const complete = Array.from(step, (v, feature) =>
        gaps[feature] ? last[feature] : (last[feature] = v - (offset[feature] ?? 0)),
      );
      return scaled(Float32Array.from(missing?.mask ? [...complete, ...gaps] : complete), scaling);
    });
  },
};
