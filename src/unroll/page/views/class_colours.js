/** @import { Reading } from "../engine/model.js" */

/**
 * Assigns colours to classes: the final answer, and classes that were ever likely. With at most as many classes as
 * colours, each class keeps its own.
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
   * Assign the colours for a reading; in a comparison, `keep` existing ones.
   *
   * @param {Reading} reading
   */
  choose(reading, keep = false) {
    if (!keep) this.slots = [];
    const peaks = Leaders.peaks(reading.probabilities);
    const likely = Array.from(peaks.keys()).filter((number) => peaks[number] > Leaders.LIKELY);
    likely.sort((a, b) => peaks[b] - peaks[a]);
    for (const number of [reading.predicted, ...likely]) {
      if (!this.slots.includes(number) && this.slots.length < Leaders.SLOTS) this.slots.push(number);
    }
  }

  /** Return the highest probability of each class over all steps. */
  static peaks(probabilities) {
    return Array.from(probabilities[0], (_, number) => probabilities.reduce((peak, step) => Math.max(peak, step[number]), 0));
  }

  /** Whether a class has its own colour. */
  has(number) {
    return this.slots.includes(number);
  }

  /** Return the name of a class's colour, for a CSS class: "class-0" …, or "class-other". */
  of(number) {
    const slot = this.fixed ? number : this.slots.indexOf(number);
    return slot < 0 ? "class-other" : `class-${slot}`;
  }
}
