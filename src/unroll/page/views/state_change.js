import { drawn, element } from "../dom.js";
import { seekable } from "./probability_curves.js";

/** @import { Reading } from "../engine/model.js" */

/** How far an edit moved the hidden state at each step, as bars over time; a strip for each reader. */
export class Moved {
  static HEIGHT = 36;

  /** @param {HTMLElement} root */
  constructor(root, seek) {
    this.root = root;
    this.distances = [];
    this.position = 0;
    this.box = element("div", { class: "plot moved", role: "img" });
    root.append(this.box);
    seekable(this.box, seek);
    new ResizeObserver(() => this.#draw()).observe(this.box);
  }

  /**
   * Compare one layer of two readings of the same length.
   *
   * @param {Reading} before
   * @param {Reading} after
   * @param {number} layer
   */
  load(before, after, layer) {
    this.distances = after.states[layer].map(({ hidden }, direction) => {
      const old = before.states[layer][direction].hidden;
      return Array.from({ length: after.time }, (_, step) => {
        let sum = 0;
        for (let at = step * after.units; at < (step + 1) * after.units; at++) sum += (hidden[at] - old[at]) ** 2;
        return Math.sqrt(sum);
      });
    });
    this.#draw();
  }

  #draw() {
    const width = this.box.clientWidth;
    if (!width) return;
    const most = Math.max(1e-9, ...this.distances.flat());
    const strips = this.distances.map((strip, direction) => {
      const each = width / strip.length;
      const bar = (v, step) => {
        const height = (v / most) * (Moved.HEIGHT - 2);
        const gap = each > 6 ? 1 : 0;
        return v ? `M${step * each + gap} ${Moved.HEIGHT}v${-height}h${each - 2 * gap}v${height}z` : "";
      };
      const svg = drawn("svg", { width, height: Moved.HEIGHT, "aria-hidden": "true" });
      svg.append(drawn("path", { class: "bar", d: strip.map(bar).join("") }));
      svg.append(drawn("line", { class: "grid", x1: 0, x2: width, y1: Moved.HEIGHT - 0.5, y2: Moved.HEIGHT - 0.5 }));
      const reader = drawn("text", { class: "tick", x: -8, y: Moved.HEIGHT - 8, "text-anchor": "end" });
      reader.textContent = ["→", "←"][direction];
      if (this.distances.length > 1) svg.append(reader);
      return svg;
    });
    this.box.replaceChildren(...strips);
    const peak = (strip) => strip.indexOf(Math.max(...strip)) + 1;
    const words = this.distances.map((strip) => (strip.some(Boolean) ? `most at step ${peak(strip)}` : "nowhere"));
    this.box.setAttribute("aria-label", `How far the hidden state moved: ${words.join("; ")}`);
  }
}
