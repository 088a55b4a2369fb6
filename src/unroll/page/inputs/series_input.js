import { drawn, element, grouped, signed } from "../dom.js";
import { Series } from "../engine/series.js";
import { inSlices, textOf } from "../work_slices.js";
import { Table } from "./csv.js";
import { Chart } from "./series_editor.js";

/** @import { Description, Preparation } from "../description.js" */
/** @import { Model } from "../engine/model.js" */

/** Input for time series: curves to draw, and how far the model has read them. */
export class CurveInput {
  static explanation = "Draw with mouse, finger or pen, or drop a table of numbers onto the page.";
  static accepts = ".csv,.tsv,.txt,text/csv";
  static MOST_STEPS = 5_000;
  static MOST_CHARACTERS = 2_000_000; // of a file
  static MOST_WINDOWS = 28; // parts of a series to replace in turn
  static MOST_BUTTONS = 12; // most features with a button each

  /**
   * @param {HTMLElement} root
   * @param {Description} description
   * @param {(change: { edited: boolean, drawing?: boolean }) => void} changed
   */
  constructor(root, description, changed) {
    const { preparation, samples, classes, typical } = description;
    this.preparation = preparation;
    this.samples = samples;
    this.classes = classes;
    this.typical = typical;
    this.changed = changed;
    this.values = null;
    this.chosen = null;
    this.note = "";
    const { features } = preparation;
    const many = typical.low.length;
    this.names = typical.low.map((_, n) => features[n] ?? (many > 1 ? `feature ${n + 1}` : "the values"));
    this.gaps = preparation.missing !== null;
    this.most = Math.min(CurveInput.MOST_STEPS, preparation.time_steps?.max_length ?? Infinity);
    this.chart = new Chart({
      names: this.names,
      typical,
      gaps: this.gaps,
      painted: (points, done) => this.#paint(points, done),
    });
    this.length = element("input", {
      type: "number", class: "length", min: 1, max: this.most, step: 1, change: () => this.#resize(),
    });
    this.made = element("p", { class: "made legend" });
    const clear = element("button", { type: "button", class: "slight", click: () => this.#clear() }, "Clear");
    const time = element("label", { class: "quiet" }, "Time steps ", this.length);
    root.append(
      element(
        "section",
        { class: "card whole", "aria-label": "Draw" },
        element("div", { class: "heading" }, element("h2", {}, "Draw"), element("span", { class: "choices" }, time, clear)),
        element("p", { class: "hint" }, `${CurveInput.explanation} The vertical line shows how far it has read.`),
        ...this.#chooser(),
        this.chart.element,
        this.made,
      ),
    );
    this.#take(null, null, typical.time);
  }

  /** Return the thumbnail of a sample: its lines and its class. */
  static thumbnail({ x, label }, { classes, typical }) {
    const [width, height] = [72, 26];
    const ranges = Chart.ranges(typical, []);
    const values = x.map((step) => step.map((v) => v ?? NaN));
    const few = Array.from(typical.low.keys()).slice(0, 4);
    const lines = few.map((feature) => {
      const [from, to] = ranges[feature];
      const points = values.map((step, t) => {
        const y = height * (1 - Math.min(1, Math.max(0, (step[feature] - from) / (to - from))));
        return [(width * (t + 0.5)) / x.length, y];
      });
      const known = (t) => points[t] !== undefined && !Number.isNaN(points[t][1]);
      const d = points.map(([at, y], t) => (known(t) ? `${known(t - 1) ? "L" : "M"}${at.toFixed(1)} ${y.toFixed(1)}` : "")).join("");
      return drawn("path", { d });
    });
    const spark = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...lines);
    return element("span", { class: "spark" }, spark, element("small", {}, classes[label]));
  }

  /** Return the controls that choose the feature to draw. */
  #chooser() {
    if (this.names.length === 1) return [];
    if (this.names.length > CurveInput.MOST_BUTTONS) {
      const options = this.names.map((name, n) => element("option", { value: n }, name));
      const select = element("select", { change: () => this.chart.choose(Number(select.value)) }, ...options);
      return [element("label", { class: "quiet features" }, "You draw ", select)];
    }
    const named = this.preparation.features.length > 0;
    const buttons = this.names.map((name, n) => {
      const button = element("button", { type: "button", "aria-label": name, "aria-pressed": String(n === 0) }, named ? name : `${n + 1}`);
      button.addEventListener("click", () => choose(n));
      return button;
    });
    const choose = (n) => {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === n)));
      this.chart.choose(n);
    };
    const words = element("span", { class: "quiet" }, named ? "You draw" : "You draw feature");
    return [element("div", { class: "features", role: "group", "aria-label": "The feature that is drawn" }, words, ...buttons)];
  }

  get sequence() {
    return this.values && Series.sequence(this.values, this.preparation);
  }

  get sample() {
    return this.chosen;
  }

  stepName(t) {
    return `time step ${t + 1}`;
  }

  show(t) {
    this.chart.show(t);
  }

  choose(n) {
    this.#new(this.samples[n].x.map((step) => step.map((v) => v ?? NaN)), n);
  }

  clear() {
    this.#take(null, null, this.typical.time);
  }

  #clear() {
    this.clear();
    this.changed({ edited: false });
    this.chart.element.focus();
  }

  async take(file) {
    const { time_step: grid = null, every = 1 } = this.preparation.time_steps ?? {};
    if (grid !== null) {
      throw new Error(`${file.name}: the model reads values at a time step of ${grid}, and this page does not resample; unroll predict does`);
    }
    const text = await textOf(file, CurveInput.MOST_CHARACTERS, "a table of numbers, a line for each time step,");
    const { features, table: form } = this.preparation;
    const run = { features, names: this.names, classes: this.classes, form };
    const rows = Table.read(text, run, { file: file.name, most: CurveInput.MOST_STEPS * every });
    const values = Series.steps(rows, this.preparation);
    const gap = values.findIndex((step) => step.some(Number.isNaN));
    if (gap >= 0 && !this.gaps) {
      throw new Error(`${file.name}: the value at time step ${gap + 1} is missing, and the model was trained without missing values`);
    }
    this.#new(values, null, CurveInput.whatIsRead(rows.length, this.preparation));
  }

  /**
   * Say in a sentence which time steps of a file with `count` of them are read; empty where all are, each for itself.
   *
   * @param {number} count
   * @param {Preparation} preparation
   */
  static whatIsRead(count, { time_steps }) {
    const { every, max_length: most, window } = time_steps ?? { every: 1, max_length: null, window: null };
    const made = Math.ceil(count / every);
    const means = every > 1 ? `Each ${grouped(every)} time steps are read as one, their mean` : "";
    if (most === null || made <= most) return means && `${means}.`;
    const what = `${means ? `${means}; the` : "The"} first ${grouped(most)} of ${grouped(made)} ${means ? "means" : "time steps"} are read`;
    return most === window ? `${what}; unroll predict reads all windows.` : `${what}, as unroll predict does.`;
  }

  /** Replace the input; `note`: a sentence on how it was read. */
  #new(values, chosen, note = "") {
    this.#take(values, chosen, values.length, note);
    this.changed({ edited: false });
  }

  #take(values, chosen, time, note = "") {
    this.values = values;
    this.note = note;
    this.chosen = chosen;
    this.fresh = false;
    this.length.value = String(time);
    this.chart.load(values, time);
    this.#explain();
  }

  /** Return a neutral value: the mean in training. */
  #mean(feature) {
    const { mean } = this.preparation.scaling;
    return Array.isArray(mean) ? mean[feature] : mean;
  }

  /** The name of the neutral value: with unit scaling it is always 0. */
  get #unmoved() {
    return this.names.every((_, feature) => this.#mean(feature) === 0) ? "0" : "the mean";
  }

  #paint(points, done) {
    if (!points.length && !this.values) return;
    if (this.values === null) {
      const means = this.names.map((_, feature) => this.#mean(feature));
      this.#take(Array.from({ length: this.chart.time }, () => [...means]), null, this.chart.time);
      this.fresh = true;
    }
    const { fresh } = this;
    const { feature } = this.chart;
    this.values = this.values.slice(); // a reading may still use the old array
    for (const { step, value } of points) {
      this.values[step] = this.values[step].map((old, n) => (n === feature ? value : old));
    }
    this.chart.values = this.values;
    if (done) this.fresh = false;
    this.chosen = null;
    this.chart.redraw();
    this.#explain();
    this.changed({ edited: !fresh, drawing: !done });
  }

  /** Cut the series off, or extend it with its last value. */
  #resize() {
    const asked = this.length.value ? Math.round(Number(this.length.value)) : this.typical.time;
    const time = Math.min(this.most, Math.max(1, asked));
    if (!this.values) return this.#take(null, null, time);
    if (time === this.values.length) return this.#take(this.values, this.chosen, time);
    this.#new(Array.from({ length: time }, (_, t) => this.values[Math.min(t, this.values.length - 1)]), null);
  }

  #explain(...more) {
    const gap = this.values?.some((step) => step.some(Number.isNaN));
    const lines = this.note ? [this.note] : [];
    if (!this.chart.shared) lines.push("Each line has its own scale; the numbers belong to the bold line.");
    if (gap) {
      const marked = this.preparation.missing.mask ? ", marked as missing" : "";
      lines.push(`Gaps are missing values. The model reads the last known value instead${marked}.`);
    }
    this.made.replaceChildren(...lines.map((words) => element("span", {}, words)), ...more);
  }

  /**
   * @param {Model} model
   * @param {AbortSignal} signal
   * @param {number} target
   */
  async mattered(model, signal, target) {
    signal.addEventListener("abort", () => {
      this.chart.weigh(null);
      this.#explain();
    });
    const x = this.sequence;
    const size = Math.ceil(x.length / CurveInput.MOST_WINDOWS);
    const windows = Array.from({ length: Math.ceil(x.length / size) }, (_, n) => [n * size, Math.min(x.length, (n + 1) * size)]);
    const losses = [];
    if (!(await inSlices(model.blank(x, windows, target), signal, (loss) => losses.push(loss)))) return;
    const most = losses.reduce((peak, v) => Math.max(peak, Math.abs(v)), 1e-9);
    const name = this.classes[target];
    this.chart.weigh(
      windows.map(([from, to], n) => {
        const steps = to - from > 1 ? `time steps ${from + 1} to ${to}` : `time step ${to}`;
        return { from, to, share: losses[n] / most, words: `${steps}: ${signed(losses[n])}, ${losses[n] < 0 ? "against" : "for"} ${name}` };
      }),
    );
    this.chart.show(x.length);
    const key = (look, words) => element("span", {}, element("span", { class: `bar-key ${look}`, "aria-hidden": "true" }), ` ${words}`);
    this.#explain(
      key("", `with ${this.#unmoved} in its place, less sure of ${name}`),
      key("opposed", `more sure of ${name}`),
    );
  }
}
