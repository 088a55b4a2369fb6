import { element, sharp, signed } from "../dom.js";
import { Palette } from "./palette.js";
import { seekable } from "./probability_curves.js";

/** @import { Reading } from "../engine/model.js" */
/** @import { Part } from "./state_parts.js" */

/** The hidden state, or a gate, as a heat map for each reader: a row for each unit, a column for each step. */
export class HeatMap {
  static READERS = ["Reader 1: from the first to the last →", "Reader 2: from the last to the first ←"];

  /**
   * `seek(share)` chooses a time; `stepName(t)` names a step.
   *
   * @param {HTMLElement} root
   */
  constructor(root, { directions, units, seek, stepName }) {
    this.units = units;
    this.stepName = stepName;
    this.position = 0;
    this.time = 0;
    this.pictures = [];
    this.tip = element("div", { class: "tip", hidden: true });
    this.height = Math.max(96, Math.min(directions > 1 ? 120 : 200, 2 * units));
    this.maps = Array.from({ length: directions }, (_, direction) => this.#map(root, direction, directions, seek));
    new ResizeObserver(() => this.draw()).observe(this.maps[0].canvas);
  }

  #map(root, direction, directions, seek) {
    const reader = directions > 1 ? `, reader ${direction + 1}` : "";
    const canvas = element("canvas", {
      class: "plot",
      tabindex: "0",
      role: "slider",
      "aria-orientation": "vertical",
      "aria-label": `Heat map${reader}: unit to ask about`,
      "aria-valuemin": "1",
      "aria-valuemax": this.units,
      "aria-valuenow": "1",
    });
    canvas.style.height = `${this.height}px`;
    const map = { canvas, direction, unit: 0 };
    if (directions > 1) root.append(element("h3", {}, HeatMap.READERS[direction]));
    root.append(element("div", { class: "axis" }, element("div", { class: "frame" }, canvas)));
    seekable(canvas, seek);
    canvas.addEventListener("pointermove", (event) => this.#hover(map, event));
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("blur", () => (this.tip.hidden = true));
    canvas.addEventListener("keydown", (event) => this.#key(map, event));
    return map;
  }

  /**
   * Show a part of one layer's states. With `keep`, the units keep their order.
   *
   * @param {Reading} reading
   * @param {number} layer
   * @param {Part} part
   */
  load(reading, layer, { key, width, share }, keep = false) {
    this.time = reading.time;
    this.share = share;
    this.#resize(width);
    const states = reading.states[layer];
    this.values = states.map(({ hidden, gates }) => (key === "hidden" ? hidden : gates[key]));
    this.most = 1;
    if (!share) {
      const larger = (most, v) => Math.max(most, Math.abs(v));
      const peak = this.values.reduce((most, values) => values.reduce(larger, most), 0);
      this.most = peak <= 1 && peak > 0.5 ? 1 : peak || 1;
    }
    if (!keep || this.orders?.[0].length !== width) {
      const ordering = width === reading.units ? states.map(({ hidden }) => hidden) : this.values;
      this.orders = ordering.map((values) => alike(values, reading.time, width));
    }
    this.draw();
  }

  /** Have a row for each of `units` numbers. */
  #resize(units) {
    this.units = units;
    for (const map of this.maps) {
      map.unit = Math.min(map.unit, units - 1);
      map.canvas.setAttribute("aria-valuemax", String(units));
      map.canvas.setAttribute("aria-valuenow", String(map.unit + 1));
    }
  }

  clear() {
    this.time = 0;
    this.values = null;
    this.draw();
  }

  /** Redraw the pictures, for example after a change of colours. */
  draw() {
    this.pictures = [];
    if (this.values) {
      const colour = this.share ? Palette.sequential() : Palette.diverging();
      const table = Array.from({ length: 511 }, (_, n) => colour(n / 255 - 1));
      this.pictures = this.values.map((values, direction) => this.#picture(values, this.orders[direction], table));
    }
    for (const map of this.maps) map.context = sharp(map.canvas, map.canvas.clientWidth, this.height);
    this.show(this.position);
  }

  #picture(values, order, table) {
    const picture = element("canvas", { width: this.time, height: this.units });
    const context = picture.getContext("2d");
    const image = context.createImageData(this.time, this.units);
    for (let line = 0, at = 0; line < this.units; line++) {
      for (let step = 0; step < this.time; step++, at += 4) {
        const v = values[step * this.units + order[line]] / this.most;
        const [red, green, blue] = table[Math.max(0, Math.min(510, Math.round(255 * (v + 1))))];
        image.data.set([red, green, blue, 255], at);
      }
    }
    context.putImageData(image, 0, 0);
    return picture;
  }

  /** Show the steps up to `position`; for the second reader, from the other end. */
  show(position) {
    this.position = position;
    this.maps.forEach(({ canvas, context, direction, unit }) => {
      if (!context) return;
      const width = canvas.clientWidth;
      context.clearRect(0, 0, width, this.height);
      canvas.setAttribute("aria-valuetext", this.#words(direction, unit, this.#lastRead(direction)));
      if (!this.time || !position) return;
      const from = direction ? this.time - position : 0;
      const scale = width / this.time;
      context.imageSmoothingEnabled = false;
      const place = [from * scale, 0, position * scale, this.height];
      context.drawImage(this.pictures[direction], from, 0, position, this.units, ...place);
    });
  }

  #lastRead(direction) {
    return direction ? this.time - this.position : this.position - 1;
  }

  #words(direction, line, step) {
    if (!this.values || step < 0 || step >= this.time) return "nothing read yet";
    const unit = this.orders[direction][line];
    const value = signed(this.values[direction][step * this.units + unit]);
    return `unit ${unit + 1}, ${this.stepName(step)}: ${value}`;
  }

  #hover(map, event) {
    const { left, top, width, height } = map.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const step = Math.min(this.time - 1, Math.max(0, Math.floor((x / width) * this.time)));
    const line = Math.min(this.units - 1, Math.max(0, Math.floor((y / height) * this.units)));
    const read = map.direction ? step >= this.time - this.position : step < this.position;
    if (read) this.#point(map, line, step);
    else this.tip.hidden = true;
  }

  /** Show the value of a place in a tooltip. */
  #point(map, line, step) {
    const { clientWidth: width } = map.canvas;
    map.canvas.parentElement.append(this.tip);
    this.tip.textContent = this.#words(map.direction, line, step);
    this.tip.hidden = false;
    const x = ((step + 0.5) / this.time) * width;
    const margin = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.min(width - margin, Math.max(margin, x))}px`;
    this.tip.style.top = `${((line + 0.5) / this.units) * this.height}px`;
  }

  #key(map, event) {
    const moves = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    map.unit = Math.min(this.units - 1, Math.max(0, map.unit + moves[event.key]));
    map.canvas.setAttribute("aria-valuenow", String(map.unit + 1));
    const step = this.#lastRead(map.direction);
    map.canvas.setAttribute("aria-valuetext", this.#words(map.direction, map.unit, step));
    if (this.position) this.#point(map, map.unit, step);
  }
}

/** Return an order of units in which each is followed by the most similar one. */
function alike(values, time, units) {
  const stride = Math.ceil(time / 64); // a sample of the steps is enough
  const rows = Array.from({ length: units }, (_, unit) =>
    Float32Array.from({ length: Math.ceil(time / stride) }, (_, n) => values[n * stride * units + unit]),
  );
  const apart = (a, b) => rows[a].reduce((sum, v, step) => sum + (v - rows[b][step]) ** 2, 0);
  const final = (unit) => values[(time - 1) * units + unit];
  const left = new Set(Array.from({ length: units }, (_, unit) => unit));
  let unit = [...left].reduce((best, next) => (final(next) > final(best) ? next : best), 0);
  const order = [];
  while (left.size) {
    order.push(unit);
    left.delete(unit);
    let nearest = Infinity;
    const from = unit;
    for (const next of left) {
      const distance = apart(from, next);
      if (distance < nearest) [nearest, unit] = [distance, next];
    }
  }
  return order;
}
