import { drawn, element, percent, shortened } from "../dom.js";

/** @import { Leaders } from "./class_colours.js" */

/** Let pressing and dragging in `root` choose a time: calls `seek(share)`, with 0 at its left edge and 1 at its right. */
export function seekable(root, seek) {
  const place = (event) => {
    const { left, width } = root.getBoundingClientRect();
    seek(Math.min(1, Math.max(0, (event.clientX - left) / width)));
  };
  root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    root.setPointerCapture(event.pointerId);
    place(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) place(event);
  });
}

/** Probabilities over time, a line for each class; steps not yet read stay blank. */
export class Curves {
  static HEIGHT = 124;
  static MARGIN = 9; // above and below the lines
  static FOOT = 16; // below that, for the numbers of the steps
  static MANY_STEPS = 200; // from which lines are thinner
  static GAP = 15; // between the names at the lines' ends
  static NAME_GAP = 9; // from a line's end to its name
  static LETTER_WIDTH = 8; // of a name

  /**
   * `seek(share)` is called when a time is chosen.
   *
   * @param {HTMLElement} root
   * @param {string[]} classes
   * @param {(share: number) => void} seek
   * @param {number} [threshold] the probability from which on one of two classes is answered, to be marked
   */
  constructor(root, classes, seek, threshold) {
    this.threshold = threshold ?? null;
    this.root = root;
    this.classes = classes;
    this.time = 0;
    this.position = 0;
    this.points = [];
    this.numbers = [];
    this.box = element("div", { class: "plot curves" });
    root.append(this.box);
    seekable(this.box, seek);
    new ResizeObserver(() => this.#draw()).observe(this.box);
  }

  /**
   * Show probabilities after 0, 1, … steps; `numbers` are the classes, `leaders` their colours.
   * `decided` is the step since which the answer has not changed; `before` are the points before an edit, or null.
   *
   * @param {object} shown
   * @param {ArrayLike<number>[]} shown.points
   * @param {ArrayLike<number>[]} shown.before
   * @param {number} shown.decided
   * @param {number[]} shown.numbers
   * @param {Leaders} shown.leaders
   */
  load({ points, before, decided, numbers, leaders }) {
    this.points = points;
    this.before = before;
    this.decided = decided;
    this.numbers = numbers;
    this.leaders = leaders;
    this.time = Math.max(0, points.length - 1);
    this.#draw();
  }

  /** Show no lines. */
  clear() {
    this.load({ points: [], before: null, decided: 0, numbers: [], leaders: null });
  }

  #x(position) {
    return (this.width * position) / Math.max(1, this.time);
  }

  #y(probability) {
    return Curves.MARGIN + (1 - probability) * (Curves.HEIGHT - 2 * Curves.MARGIN);
  }

  #path(points, number) {
    const most = Math.min(points.length, this.points.length);
    const place = (point, n) => `${this.#x(n).toFixed(1)} ${this.#y(point[number]).toFixed(1)}`;
    return `M${points.slice(0, most).map(place).join("L")}`;
  }

  /** The classes in drawing order: those without their own colour first, as later ones are drawn over them. */
  #order() {
    const { numbers, leaders } = this;
    return [...numbers.filter((number) => !leaders.has(number)), ...[...(leaders?.slots ?? [])].reverse()];
  }

  #draw() {
    this.width = this.box.clientWidth;
    if (!this.width) return;
    const height = Curves.HEIGHT + Curves.FOOT;
    const svg = drawn("svg", { width: this.width, height, "aria-hidden": "true" });
    for (const step of marked(this.time)) {
      const place = { x: this.#x(step), y: height - 2, "text-anchor": "middle" };
      svg.append(drawn("text", { class: "tick step", ...place }, String(step)));
    }
    for (const level of [0, 0.5, 1]) {
      const y = this.#y(level);
      svg.append(drawn("line", { class: "grid", x1: 0, x2: this.width, y1: y, y2: y }));
      svg.append(drawn("text", { class: "tick", x: -8, y: y + 4, "text-anchor": "end" }, percent(level)));
    }
    if (this.threshold !== null) {
      const y = this.#y(this.threshold);
      svg.append(drawn("line", { class: "threshold", x1: 0, x2: this.width, y1: y, y2: y }));
    }
    this.cover = drawn("rect", { x: 0, y: 0, height: Curves.HEIGHT });
    svg.append(drawn("clipPath", { id: "read" }, this.cover));
    const lines = drawn("g", { "clip-path": "url(#read)", class: this.time > Curves.MANY_STEPS ? "fine" : "" });
    const order = this.#order();
    for (const number of order) {
      const colour = this.leaders.of(number);
      if (this.before && this.leaders.has(number)) {
        svg.append(drawn("path", { class: `line ghost ${colour}`, d: this.#path(this.before, number) }));
      }
      lines.append(drawn("path", { class: `line ${colour}`, d: this.#path(this.points, number) }));
    }
    this.mark = drawn("g", { class: "decided" });
    if (this.time) {
      const x = this.#x(this.decided);
      this.mark.append(drawn("line", { x1: x, x2: x, y1: 0, y2: Curves.HEIGHT }));
    }
    this.now = drawn("line", { class: "now", x1: 0, x2: 0, y1: 0, y2: Curves.HEIGHT });
    const room = Math.floor((parseFloat(getComputedStyle(this.root).paddingRight) - Curves.NAME_GAP) / Curves.LETTER_WIDTH);
    this.heads = order
      .filter((number) => this.leaders.has(number))
      .reverse()
      .map((number) => {
        const name = drawn("text", { x: Curves.NAME_GAP, y: 4 }, shortened(this.classes[number], room));
        const head = drawn("g", { class: `head ${this.leaders.of(number)}` }, drawn("circle", { r: 3.5 }), name);
        return { number, head, name };
      });
    svg.append(lines, this.mark, this.now, ...this.heads.map(({ head }) => head));
    this.box.replaceChildren(svg);
    this.show(this.position);
  }

  /** Show the steps up to `position`. */
  show(position) {
    this.position = position;
    if (!this.cover) return;
    const x = this.#x(position);
    this.cover.style.width = `${x}px`;
    this.now.style.transform = `translateX(${x}px)`;
    this.now.style.visibility = this.time ? "" : "hidden";
    this.mark.style.visibility = position >= this.decided ? "" : "hidden";
    const point = this.points[position];
    if (!point) return;
    const seen = this.heads.filter(({ number }, n) => n === 0 || point[number] >= 0.04);
    const places = spaced(seen.map(({ number }) => this.#y(point[number])), Curves.GAP, Curves.HEIGHT);
    for (const { number, head, name } of this.heads) {
      const place = seen.findIndex((leader) => leader.number === number);
      head.style.transform = `translate(${x}px, ${this.#y(point[number])}px)`;
      head.style.visibility = place < 0 ? "hidden" : "";
      if (place >= 0) name.style.transform = `translateY(${places[place] - this.#y(point[number])}px)`;
    }
  }
}

/** Return whole numbers from 0 to `time`, evenly spread, about seven and the last of them `time`. */
function marked(time) {
  const units = [1, 2, 4, 5, 7, 10].flatMap((unit) => [unit, 10 * unit, 100 * unit, 1000 * unit]);
  const each = units.sort((a, b) => a - b).find((unit) => time / unit <= 7) ?? time;
  const steps = [];
  for (let step = 0; step <= time - 0.6 * each; step += each) steps.push(step);
  return time ? [...steps, time] : [];
}

/** Return places near the given ones, no two closer than `gap`, none beyond `most`. */
function spaced(places, gap, most) {
  const order = Array.from(places.keys()).sort((a, b) => places[a] - places[b]);
  const moved = places.slice();
  for (let n = 1; n < order.length; n++) moved[order[n]] = Math.max(moved[order[n]], moved[order[n - 1]] + gap);
  let limit = most - 5;
  for (const number of order.reverse()) {
    moved[number] = Math.min(moved[number], limit);
    limit = moved[number] - gap;
  }
  return moved;
}
