"use strict";

/** Which classes get a colour of their own: the one that it ends with, and those that were ever likely. */
class Leaders {
  static SLOTS = 4; // colours in the style sheet: --class-0 …
  static LIKELY = 0.2;

  constructor() {
    this.slots = [];
  }

  /** Choose anew; while two readings are compared, `keep` those that have a colour. */
  choose(reading, keep = false) {
    if (!keep) this.slots = [];
    const peaks = Array.from(reading.probabilities[0], (_, number) =>
      reading.probabilities.reduce((peak, step) => Math.max(peak, step[number]), 0),
    );
    const likely = Array.from(peaks.keys()).filter((number) => peaks[number] > Leaders.LIKELY);
    likely.sort((one, other) => peaks[other] - peaks[one]);
    for (const number of [reading.predicted, ...likely]) {
      if (!this.slots.includes(number) && this.slots.length < Leaders.SLOTS) this.slots.push(number);
    }
  }

  /** Whether a class has a colour of its own. */
  has(number) {
    return this.slots.includes(number);
  }

  /** Return the name of a class's colour, for a CSS class: "class-0" …, or "class-other". */
  of(number) {
    const slot = this.slots.indexOf(number);
    return slot < 0 ? "class-other" : `class-${slot}`;
  }
}
