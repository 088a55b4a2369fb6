/** @import { FrontDescription } from "../description.js" */

/**
 * What stands before the layers, as in unroll's models/front.py: each series scaled by itself, and time steps put
 * together to frames.
 */
export class Front {
  /** @param {FrontDescription} description */
  constructor({ features, scaling, mask_size, frame, hop, epsilon }) {
    this.size = frame;
    this.hop = hop;
    this.scaling = scaling;
    this.epsilon = epsilon;
    /** How many features are scaled, the first ones. */
    this.plain = features - mask_size;
  }

  /** Whether each series is scaled by itself, so that a later step changes what earlier ones are. */
  get scales() {
    return this.scaling === "series" || this.scaling === "both";
  }

  /**
   * Return time steps scaled by their own series.
   *
   * @param {ArrayLike<number>[]} steps
   */
  scaled(steps) {
    if (!this.scales) return steps;
    const moments = Array.from({ length: this.plain }, (_, feature) => {
      const mean = steps.reduce((sum, step) => sum + step[feature], 0) / steps.length;
      const variance = steps.reduce((sum, step) => sum + (step[feature] - mean) ** 2, 0) / steps.length;
      return { mean, deviation: Math.sqrt(variance + this.epsilon * (1 + mean * mean)) };
    });
    return steps.map((step) => {
      const own = moments.map(({ mean, deviation }, feature) => (step[feature] - mean) / deviation);
      const given = Array.from(step);
      return Float64Array.from(this.scaling === "both" ? [...given, ...own] : [...own, ...given.slice(this.plain)]);
    });
  }

  /** Return the number of frames for a number of time steps. */
  count(steps) {
    return steps && 1 + Math.ceil(Math.max(0, steps - this.size) / this.hop);
  }

  /** Return the number of whole frames within a number of time steps. */
  full(steps) {
    return steps < this.size ? 0 : 1 + Math.floor((steps - this.size) / this.hop);
  }

  /** Return the frames of time steps. */
  frames(steps) {
    if (this.size === 1) return steps;
    return Array.from({ length: this.count(steps.length) }, (_, number) => this.frame(steps, number, steps.length));
  }

  /** Return one of the frames of the first `time` steps; what it lacks there is 0. */
  frame(steps, number, time) {
    const width = steps[0].length;
    const values = new Float64Array(this.size * width);
    const from = number * this.hop;
    for (let step = from; step < Math.min(time, from + this.size); step++) values.set(steps[step], (step - from) * width);
    return values;
  }
}
