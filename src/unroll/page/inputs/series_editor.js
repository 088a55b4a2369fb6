import { drawn, element, grouped } from "../dom.js";

/** Lines over time, one of which can be drawn with the pointer, or with keys point by point. */
export class Chart {
  static HEIGHT = 250;
  static EDGE = { left: 46, right: 12, top: 12, bottom: 26 };
  static MOST_DOTS = 64; // most time steps that are shown as points
  static MOST_LINES = 24; // most lines besides the edited one
  static BAR = 8; // thickness of the strongest bar

  /**
   * `names` are the names of the features, `typical` their usual ranges; `painted(points, done)` is called with
   * [{step, value}], where NaN removes a value, and with done at the end of a stroke.
   */
  constructor({ names, typical, gaps, painted }) {
    this.names = names;
    this.typical = typical;
    this.gaps = gaps;
    this.painted = painted;
    this.values = null;
    this.time = 0;
    this.feature = 0;
    this.read = 0;
    this.cursor = 0;
    this.shares = null;
    const hint = element("p", { class: "hint", "aria-hidden": "true" }, "Draw a curve here");
    this.plot = element("div", { class: "lines" });
    this.element = element(
      "div",
      { class: "chart", tabindex: "0", role: "slider", "aria-orientation": "horizontal", keydown: (event) => this.#key(event) },
      this.plot,
      hint,
    );
    for (const name of ["down", "move", "up", "cancel", "leave"]) {
      this.element.addEventListener(`pointer${name}`, (event) => this.#point(event));
    }
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /** Show values, [time][features], NaN where missing; null: none yet, of `time` steps. */
  load(values, time) {
    this.values = values;
    this.time = time;
    this.shares = null;
    this.cursor = Math.min(this.cursor, time - 1);
    this.read = 0;
    this.ranges = Chart.ranges(this.typical, values ?? []);
    this.draw();
  }

  /** Edit another feature. */
  choose(feature) {
    this.feature = feature;
    this.draw();
  }

  /**
   * Return the range of each feature's scale: the same for all if they are of similar size, so that the lines can be
   * compared.
   */
  static ranges({ low, high }, values) {
    const own = low.map((least, feature) => {
      const known = values.map((step) => step[feature]).filter((v) => !Number.isNaN(v));
      return [known.reduce((a, b) => Math.min(a, b), least), known.reduce((a, b) => Math.max(a, b), high[feature])];
    });
    const whole = [Math.min(...own.map(([from]) => from)), Math.max(...own.map(([, to]) => to))];
    const narrowest = Math.min(...own.map(([from, to]) => to - from));
    const shared = whole[1] - whole[0] <= 5 * narrowest;
    return own.map((range) => {
      const [from, to] = shared ? whole : range;
      const margin = 0.08 * (to - from) || Math.abs(to) || 1;
      return [from - margin, to + margin];
    });
  }

  /** Tell whether all lines share a scale. */
  get shared() {
    return this.ranges.every(([from, to]) => from === this.ranges[0][0] && to === this.ranges[0][1]);
  }

  /** Show how far it has been read. */
  show(t) {
    this.read = t;
    if (!this.line) return;
    const x = this.#x(t - 0.5);
    this.line.style.transform = `translateX(${x}px)`;
    this.veil.style.transform = `translateX(${x}px)`;
  }

  /** Show how much parts mattered: [{from, to, share, words}], share from -1 (against) to 1; null removes them. */
  weigh(shares) {
    this.shares = shares;
    this.draw();
  }

  /** Redraw everything. */
  draw() {
    this.width = this.plot.clientWidth;
    this.#say();
    this.element.classList.toggle("full", this.values !== null);
    if (!this.width || !this.time) return;
    const { left, right, top, bottom } = Chart.EDGE;
    const [wide, high] = [this.width - left - right, Chart.HEIGHT - top - bottom];
    const svg = drawn("svg", { width: this.width, height: Chart.HEIGHT, "aria-hidden": "true" });
    svg.append(...this.#axes());
    this.cover = { x: left, y: top, width: wide, height: high };
    svg.append(...this.#weights());
    if (this.values) {
      const background = this.names.map((_, feature) => feature).filter((feature) => feature !== this.feature);
      for (const feature of background.slice(0, Chart.MOST_LINES)) svg.append(drawn("path", { class: "other", d: this.#path(feature) }));
      this.own = drawn("path", { class: "own", d: this.#path(this.feature) });
      this.dots = drawn("path", { class: "dots", d: this.#dots() });
      svg.append(this.own, this.dots);
    }
    const clip = drawn("clipPath", { id: "plotted" }, drawn("rect", this.cover));
    this.veil = drawn("rect", { class: "veil", x: 0, y: top, width: this.width, height: high });
    this.line = drawn("line", { class: "now", x1: 0, x2: 0, y1: top, y2: top + high });
    this.mark = drawn("circle", { class: "mark", r: 6 });
    this.value = drawn("text", { class: "tick value", x: this.width - right - 6, y: top + 16, "text-anchor": "end" });
    svg.append(clip, drawn("g", { "clip-path": "url(#plotted)" }, this.veil), this.mark, this.value);
    if (this.values) svg.append(this.line);
    this.plot.replaceChildren(svg);
    this.show(this.read);
    this.#say();
  }

  /** Redraw the edited line. */
  redraw() {
    if (!this.own) return this.draw();
    this.own.setAttribute("d", this.#path(this.feature));
    this.dots.setAttribute("d", this.#dots());
    this.#say();
  }

  /** Return the x coordinate of the middle of a step. */
  #x(step) {
    const { left, right } = Chart.EDGE;
    return left + ((this.width - left - right) * (step + 0.5)) / this.time;
  }

  #y(value, feature) {
    const { top, bottom } = Chart.EDGE;
    const [from, to] = this.ranges[feature];
    return top + (Chart.HEIGHT - top - bottom) * (1 - (value - from) / (to - from));
  }

  #place(step, feature) {
    return `${this.#x(step).toFixed(1)} ${this.#y(this.values[step][feature], feature).toFixed(1)}`;
  }

  /** A line with gaps at missing values; a single value is a dot. */
  #path(feature) {
    const known = (step) => this.values[step] !== undefined && !Number.isNaN(this.values[step][feature]);
    const parts = [];
    for (let step = 0; step < this.time; step++) {
      if (!known(step)) continue;
      parts.push(`${known(step - 1) ? "L" : "M"}${this.#place(step, feature)}`);
      if (!known(step - 1) && !known(step + 1)) parts.push("h0");
    }
    return parts.join("");
  }

  #dots() {
    if (this.time > Chart.MOST_DOTS) return "";
    const steps = Array.from(this.values.keys()).filter((step) => !Number.isNaN(this.values[step][this.feature]));
    return steps.map((step) => `M${this.#place(step, this.feature)}h0`).join("");
  }

  #axes() {
    const { left, right, top, bottom } = Chart.EDGE;
    const [from, to] = this.ranges[this.feature];
    const floor = Chart.HEIGHT - bottom;
    /** @type {SVGElement[]} */
    const axes = [drawn("rect", { class: "ground", x: left, y: top, width: this.width - left - right, height: floor - top, rx: 4 })];
    for (const level of Chart.ticks(from, to, 5)) {
      const y = this.#y(level, this.feature);
      axes.push(drawn("line", { class: "grid", x1: left, x2: this.width - right, y1: y, y2: y }));
      axes.push(drawn("text", { class: "tick", x: left - 6, y: y + 4, "text-anchor": "end" }, brief(level)));
    }
    const steps = Chart.ticks(1, this.time, Math.max(2, Math.min(8, this.width / 70))).filter((step) => Number.isInteger(step) && step > 0);
    for (const step of steps.length ? steps : [1]) {
      axes.push(drawn("text", { class: "tick", x: this.#x(step - 1), y: floor + 17, "text-anchor": "middle" }, grouped(step)));
    }
    axes.push(drawn("text", { class: "tick", x: left - 6, y: floor + 17, "text-anchor": "end" }, "step"));
    return axes;
  }

  /** Return about `count` round numbers within a range. */
  static ticks(from, to, count) {
    const rough = (to - from) / count || 1;
    const size = 10 ** Math.floor(Math.log10(rough));
    const each = size * [1, 2, 5, 10].find((many) => many * size >= rough * 0.999);
    const first = Math.ceil(from / each - 1e-9);
    const last = Math.floor(to / each + 1e-9);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => Number(((first + n) * each).toPrecision(12)));
  }

  /** Draw behind the lines what spoke for the class (bar at the top) and against it (bar at the bottom). */
  #weights() {
    return (this.shares ?? []).map(({ from, to, share, words }) => {
      const { y, height } = this.cover;
      const x = this.#x(from - 0.5);
      const place = { x, width: Math.max(1, this.#x(to - 0.5) - x - 1) };
      const thick = Math.abs(share) < 0.05 ? 0 : 2 + (Chart.BAR - 2) * Math.abs(share);
      const tint = drawn("rect", { ...place, y, height, "fill-opacity": (0.32 * Math.abs(share)).toFixed(3) });
      const bar = drawn("rect", { ...place, y: share < 0 ? y + height - thick : y, height: thick });
      return drawn("g", { class: share < 0 ? "weight opposed" : "weight" }, tint, bar, drawn("title", {}, words));
    });
  }

  /** Update the cursor's position, on screen and for screen readers. */
  #say() {
    const value = this.values?.[this.cursor]?.[this.feature];
    const place = `time step ${this.cursor + 1}`;
    const words = value === undefined ? "nothing yet" : Number.isNaN(value) ? "missing" : brief(value);
    const name = this.names.length > 1 ? `${this.names[this.feature]}, ` : "";
    const remove = this.gaps ? " Delete makes it missing." : "";
    this.element.setAttribute(
      "aria-label",
      `Curve of ${this.names[this.feature]}. Left and right choose a time step, up and down change its value.${remove}`,
    );
    for (const [attribute, number] of Object.entries({ min: 1, max: this.time, now: this.cursor + 1 })) {
      this.element.setAttribute(`aria-value${attribute}`, String(number));
    }
    this.element.setAttribute("aria-valuetext", `${name}${place}: ${words}`);
    if (!this.value) return;
    this.value.textContent = `${place}: ${words}`;
    this.mark.setAttribute("cx", String(this.#x(this.cursor)));
    const [from, to] = this.ranges[this.feature];
    this.mark.setAttribute("cy", String(this.#y(value === undefined || Number.isNaN(value) ? (from + to) / 2 : value, this.feature)));
    this.mark.classList.toggle("missing", value === undefined || Number.isNaN(value));
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.time) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const [from, to] = this.ranges[this.feature];
    const size = (to - from) / (event.shiftKey ? 10 : 40);
    const changes = { ArrowUp: size, ArrowDown: -size };
    if (event.key in moves) {
      this.cursor = Math.min(this.time - 1, Math.max(0, this.cursor + moves[event.key]));
      this.#say();
    } else if (event.key in changes) {
      const known = this.#known(this.cursor);
      this.painted([{ step: this.cursor, value: Math.min(to, Math.max(from, known + changes[event.key])) }], true);
    } else if ((event.key === "Delete" || event.key === "Backspace") && this.gaps) {
      this.painted([{ step: this.cursor, value: NaN }], true);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Return the value at a step; if it is missing, the last known one, else the middle of the scale. */
  #known(step) {
    for (let at = step; at >= 0; at--) {
      const value = this.values?.[at]?.[this.feature] ?? NaN;
      if (!Number.isNaN(value)) return value;
    }
    const { low, high } = this.typical;
    return (low[this.feature] + high[this.feature]) / 2;
  }

  #at(event) {
    const box = this.plot.getBoundingClientRect();
    const { left, right, top, bottom } = Chart.EDGE;
    const along = (event.clientX - box.left - left) / (this.width - left - right);
    const up = 1 - (event.clientY - box.top - top) / (Chart.HEIGHT - top - bottom);
    const [from, to] = this.ranges[this.feature];
    const step = Math.min(this.time - 1, Math.max(0, Math.floor(along * this.time)));
    return { step, value: from + (to - from) * Math.min(1, Math.max(0, up)) };
  }

  #point(event) {
    if (!this.time) return;
    const at = this.#at(event);
    if (event.type === "pointerdown" && event.button === 0) {
      this.element.setPointerCapture(event.pointerId);
      this.stroke = at;
      this.painted([at], false);
    } else if (event.type === "pointermove" && this.stroke) {
      this.painted(Chart.along(this.stroke, at), false);
      this.stroke = at;
    } else if (this.stroke && event.type !== "pointerleave") {
      this.stroke = null;
      this.painted([], true);
    }
    if (at.step === this.cursor) return;
    this.cursor = at.step;
    this.#say();
  }

  /** Return the points between two points. */
  static along(start, end) {
    const count = Math.max(1, Math.abs(end.step - start.step));
    const way = Math.sign(end.step - start.step);
    return Array.from({ length: count }, (_, n) => ({
      step: start.step + way * (n + 1),
      value: start.value + ((end.value - start.value) * (n + 1)) / count,
    }));
  }
}

/** Return a number with at most three significant digits. */
const brief = (value) => String(Number(value.toPrecision(3))).replace("-", "\u2212");
