/** @import { Reading } from "../engine/model.js" */

/**
 * Which classes get a colour of their own: the one that it ends with, and those that were ever likely. Where there are
 * no more classes than colours, each class has its own for good.
 */
export class Leaders {
  static SLOTS = 4; // colours in the style sheet: --class-0 …
  static LIKELY = 0.2;

  /** @param {number} classes */
  constructor(classes) {
    /** @type {number[]} */
    this.slots = [];
    this.fixed = classes <= Leaders.SLOTS;
  }

  /**
   * Choose anew; while two readings are compared, `keep` those that have a colour.
   *
   * @param {Reading} reading
   */
  choose(reading, keep = false) {
    if (!keep) this.slots = [];
    const peaks = Leaders.peaks(reading.probabilities);
    const likely = Array.from(peaks.keys()).filter((number) => peaks[number] > Leaders.LIKELY);
    likely.sort((one, other) => peaks[other] - peaks[one]);
    for (const number of [reading.predicted, ...likely]) {
      if (!this.slots.includes(number) && this.slots.length < Leaders.SLOTS) this.slots.push(number);
    }
  }

  /** Return how probable each class ever was, of the probabilities after each step. */
  static peaks(probabilities) {
    return Array.from(probabilities[0], (_, number) => probabilities.reduce((peak, step) => Math.max(peak, step[number]), 0));
  }

  /** Whether a class has a colour of its own. */
  has(number) {
    return this.slots.includes(number);
  }

  /** Return the name of a class's colour, for a CSS class: "class-0" …, or "class-other". */
  of(number) {
    const slot = this.fixed ? number : this.slots.indexOf(number);
    return slot < 0 ? "class-other" : `class-${slot}`;
  }
}
