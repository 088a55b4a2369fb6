import { element, percent } from "../dom.js";
import { Leaders } from "./class_colours.js";

/** @import { Model } from "../engine/model.js" */

/** The probability of each class as a bar. */
export class Bars {
  static MOST_CLASSES = 12;
  static SHORT_NAME = 4; // most characters of names for two columns on a narrow screen

  /**
   * @param {HTMLElement} root
   * @param {string[]} classes
   * @param {Model} model
   */
  constructor(root, classes, model) {
    this.root = root;
    this.model = model;
    this.classes = classes;
    this.rows = [];
  }

  /**
   * Show the bars of these classes; `leaders` colours them.
   *
   * @param {number[]} numbers
   * @param {Leaders} leaders
   */
  load(numbers, leaders) {
    this.rows = numbers.map((number) => {
      const [fill, before, value] = ["fill", "before", "value"].map((name) => element("span", { class: name }));
      const track = element("span", { class: "track", "aria-hidden": "true" }, fill, before);
      if (number === this.model.point?.positive) track.append(this.#threshold());
      const name = element("span", { class: "name" }, this.classes[number]);
      name.title = this.classes[number];
      const row = element("li", { class: leaders.of(number) }, name, track, value);
      return { number, row, fill, before, value };
    });
    const columns = this.classes.every((name) => name.length <= Bars.SHORT_NAME) ? 2 : 1;
    this.root.style.setProperty("--lines", String(Math.ceil(this.rows.length / columns)));
    this.root.replaceChildren(...this.rows.map(({ row }) => row));
  }

  /** The mark of the probability from which on a class is answered. */
  #threshold() {
    const mark = element("span", { class: "threshold" });
    mark.style.left = `${100 * this.model.point.threshold}%`;
    return mark;
  }

  /** Show probabilities, or nothing; in a comparison, also those `before` the edit, as marks. */
  show(probabilities, before = null) {
    const answer = probabilities && this.model.decide(probabilities);
    for (const { number, row, fill, before: mark, value } of this.rows) {
      const probability = probabilities ? probabilities[number] : 0;
      fill.style.transform = `scaleX(${probability})`;
      value.textContent = probabilities ? percent(probability) : "";
      row.classList.toggle("first", number === answer);
      mark.hidden = !before || Math.abs(before[number] - probability) < 0.01;
      if (before) mark.style.left = `${100 * before[number]}%`;
    }
  }

  /** Return which classes to show: all, or the `leaders` and all that were ever the most probable. */
  static chosen(probabilities, leaders) {
    const peaks = Leaders.peaks(probabilities);
    const weight = (number) => peaks[number] + (leaders.has(number) ? 1 : 0);
    const numbers = Array.from(peaks.keys()).sort((a, b) => weight(b) - weight(a));
    return numbers.slice(0, Bars.MOST_CLASSES).sort((a, b) => a - b);
  }
}
