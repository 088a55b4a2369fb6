import { scaled } from "./images.js";

/** @import { Preparation } from "../description.js" */

/* Prepare a time series like the training data, as unroll's data/preparation.py does. */
export const Series = {
  /**
   * Return the time steps that the model reads of raw ones, [time][features] with NaN where a value is missing: means of
   * `every` neighbours over the values that are there, at most `max_length` of them. Nothing is resampled.
   *
   * @param {number[][]} values
   * @param {Preparation} preparation
   */
  steps(values, { time_steps }) {
    const { every, max_length } = time_steps ?? { every: 1, max_length: null };
    const count = Math.min(Math.ceil(values.length / every), max_length ?? Infinity);
    if (every === 1) return values.slice(0, count);
    return Array.from({ length: count }, (_, n) => {
      const group = values.slice(n * every, (n + 1) * every);
      return Array.from(group[0], (_, feature) => {
        const known = group.map((step) => step[feature]).filter((v) => !Number.isNaN(v));
        return known.reduce((sum, v) => sum + v, 0) / known.length; // NaN of none
      });
    });
  },

  /**
   * Return the time steps, arrays of scaled features, that the model reads of `values`: [time][features], NaN where one
   * is missing.
   *
   * A missing value is replaced by the last known one, at the beginning by the mean in training; if the model was
   * trained with masks, a further feature is 1 at the gap.
   *
   * @param {number[][]} values
   * @param {Preparation} preparation
   */
  sequence(values, { missing, offset, scaling }) {
    const last = missing ? [...missing.means] : [];
    return Array.from(values, (step) => {
      const gaps = Array.from(step, (v) => (Number.isNaN(v) ? 1 : 0));
      if (!missing && gaps.includes(1))
        throw new Error("a value is missing, and the model was trained without missing values; fill it in");
      const complete = Array.from(step, (v, feature) =>
        gaps[feature] ? last[feature] : (last[feature] = v - (offset[feature] ?? 0)),
      );
      return scaled(Float32Array.from(missing?.mask ? [...complete, ...gaps] : complete), scaling);
    });
  },
};
