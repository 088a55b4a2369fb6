"use strict";

/** Which classes get a colour of their own: those that were ever in the lead, the final one first. */
class Leaders {
  static SLOTS = 4; // colours in the style sheet: --class-0 …

  constructor() {
    this.slots = [];
  }

  /** Choose anew; while two readings are compared, `keep` those that have a colour. */
  choose(reading, keep = false) {
    if (!keep) this.slots = [];
    const led = new Map();
    for (const probabilities of reading.probabilities) {
      const first = largest(probabilities);
      if (probabilities[first] > 1.5 / probabilities.length) led.set(first, (led.get(first) ?? 0) + 1);
    }
    const others = [...led.keys()].sort((one, other) => led.get(other) - led.get(one));
    const final = reading.probabilities.at(-1);
    const close = Array.from(final.keys()).filter((number) => final[number] > 0.1);
    for (const number of [reading.predicted, ...others, ...close]) {
      if (!this.slots.includes(number) && this.slots.length < Leaders.SLOTS) this.slots.push(number);
    }
  }

  /** Return the name of a class's colour, for a CSS class: "class-0" …, or "class-other". */
  of(number) {
    const slot = this.slots.indexOf(number);
    return slot < 0 ? "class-other" : `class-${slot}`;
  }
}
