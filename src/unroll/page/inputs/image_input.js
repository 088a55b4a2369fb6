import { element } from "../dom.js";
import { border, Images, median } from "../engine/images.js";
import { decode } from "../engine/decode.js";
import { inSlices } from "../work_slices.js";
import { Pad } from "./drawing_pad.js";
import { Orientation } from "./orientation.js";
import { PixelGrid } from "./pixel_grid.js";

/** @import { Description } from "../description.js" */
/** @import { Model } from "../engine/model.js" */

/** Input for images: a sheet to draw on, and the pixels that the model sees. */
export class DigitInput {
  static explanation = "Draw with mouse, finger or pen, or drop a picture onto the page.";
  static accepts = "image/*";
  static MOST_PIXELS = 50e6; // of a picture
  static MOST_GROUPS = 900; // most pixels, or groups of neighbours, to erase in turn

  /**
   * @param {HTMLElement} root
   * @param {Description} description
   * @param {(change: { edited: boolean, drawing?: boolean }) => void} changed
   */
  constructor(root, description, changed) {
    const { preparation, samples, classes } = description;
    this.preparation = preparation;
    this.samples = samples;
    this.classes = classes;
    this.changed = changed;
    this.form = preparation.image;
    this.pixels = null;
    this.chosen = null;
    this.steps = DigitInput.#steps(this.form);
    const digits = classes.every((name) => /^\d$/.test(name));
    this.pen = this.form.channels === 3 ? this.#makePen() : null;
    this.pad = new Pad({
      ink: this.pen?.value,
      hint: digits ? "Draw a digit here" : "Draw here",
      drawing: () => this.#draw(true),
      lifted: () => this.#draw(false),
    });
    this.grid = new PixelGrid({
      form: this.form,
      steps: this.steps,
      ink: () => this.#ink(),
      painted: (pixel, ink) => this.#paint(pixel, ink),
    });
    this.made = element("p", { class: "made" });
    const clear = element("button", { type: "button", class: "slight", click: () => this.#clear() }, "Clear");
    const size = `${this.form.width}×${this.form.height}`;
    root.append(
      element(
        "section",
        { class: "card", "aria-label": "Draw" },
        element("div", { class: "heading" }, element("h2", {}, "Draw"), ...(this.pen ? [this.pen] : []), clear),
        element("p", { class: "hint" }, DigitInput.explanation),
        this.pad.element,
      ),
      element(
        "section",
        { class: "card", "aria-label": "What it sees" },
        element("h2", {}, "What it sees"),
        element("p", { class: "hint" }, `${size} pixels; the line shows how far it has read. Click a pixel to change it.`),
        this.grid.element,
        this.made,
      ),
    );
  }

  /** Return a small picture of a sample. */
  static thumbnail(sample, { preparation: { image } }) {
    const pixels = decode.bytes(sample.x);
    const { width, height, channels } = image;
    const canvas = element("canvas", { width, height, class: image.framing ? "thumbnail ink" : "thumbnail" });
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const numbers = Images.numbersOf(pixels, at, image);
      const colour = channels === 3 ? numbers : [0, 1, 2].map(() => numbers[0]);
      if (image.framing) picture.data[4 * at + 3] = Math.abs(numbers[0] - image.framing.border);
      else picture.data.set([...colour, 255], 4 * at);
    }
    context.putImageData(picture, 0, 0);
    return canvas;
  }

  /** Return of each pixel in which step it is read. */
  static #steps(form) {
    const { width, height } = form;
    const step = (_, pixel) => Images.stepOf(Math.floor(pixel / width), pixel % width, form).step;
    return Array.from({ length: width * height }, step);
  }

  /** Return the control that chooses the colour of the pen. */
  #makePen() {
    const chosen = () => (this.pad.ink = this.pen.value);
    return element("input", { type: "color", value: "#d32f2f", "aria-label": "Colour of the pen", input: chosen });
  }

  /** Return the numbers of a pixel that is painted. */
  #ink() {
    if (this.pen) return [1, 3, 5].map((at) => parseInt(this.pen.value.slice(at, at + 2), 16));
    return [this.grid.paper < 127.5 ? 255 : 0];
  }

  get sequence() {
    return this.pixels && Images.sequence(this.pixels, this.preparation);
  }

  get sample() {
    return this.chosen;
  }

  stepName(t) {
    const name = { rows: "row", columns: "column" }[this.form.read] ?? "pixel";
    return `${name} ${t + 1}`;
  }

  show(t) {
    this.grid.show(t);
  }

  choose(n) {
    this.pad.clear();
    this.#take(decode.bytes(this.samples[n].x), "a sample from the test data", n);
    this.changed({ edited: false });
  }

  clear() {
    this.pad.clear();
    this.#take(null, "", null);
  }

  #clear() {
    this.clear();
    this.changed({ edited: false });
  }

  async take(file) {
    let picture, orientation;
    try {
      const stored = Orientation.takenFrom(new Uint8Array(await file.arrayBuffer()));
      orientation = stored.orientation;
      // Colours as they are stored, without profiles: so unroll reads the training images.
      picture = await createImageBitmap(new Blob([stored.bytes]), { colorSpaceConversion: "none" });
    } catch {
      throw new Error(`${file.name} must be a picture that this browser can read, such as a PNG or JPEG file`);
    }
    const { width, height } = Orientation.size(orientation, picture);
    if (width * height > DigitInput.MOST_PIXELS) throw new Error(`${file.name} may have at most 50 million pixels, got ${width}×${height}`);
    const canvas = element("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.setTransform(...Orientation.transform(orientation, picture));
    context.drawImage(picture, 0, 0);
    let prepared;
    try {
      prepared = Images.prepare(context.getImageData(0, 0, width, height), this.form);
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}`, { cause: error });
    }
    this.pad.show(canvas);
    this.#take(prepared.pixels, prepared.steps.join(", "), null);
    this.changed({ edited: false });
  }

  #take(pixels, made, chosen) {
    this.pixels = pixels;
    this.chosen = chosen;
    this.made.textContent = made;
    this.grid.load(pixels);
  }

  /** Prepare the drawing on the sheet; `drawing`: the pen is still down. */
  #draw(drawing) {
    try {
      const { pixels, steps } = Images.prepare(this.pad.picture, this.form);
      const made = steps.filter((step) => /^(scaled|centred|resized)/.test(step));
      this.#take(pixels, made.join(", "), null);
    } catch {
      return; // the sheet is still blank
    }
    this.changed({ edited: false, drawing });
  }

  #paint(pixel, ink) {
    const { paper } = this.grid;
    const { channels } = this.form;
    const edited = this.pixels !== null;
    const pixels = this.pixels?.slice() ?? new Uint8Array(this.steps.length * channels).fill(paper);
    pixels.set(ink ? this.#ink() : Array.from({ length: channels }, () => paper), pixel * channels);
    if (!edited) this.pad.clear();
    this.#take(pixels, "changed by hand", null);
    this.changed({ edited: true });
  }

  /**
   * @param {Model} model
   * @param {AbortSignal} signal
   * @param {number} target
   */
  async mattered(model, signal, target) {
    const { pixels } = this;
    const { width, channels } = this.form;
    const { textContent: made } = this.made;
    signal.addEventListener("abort", () => {
      this.grid.load(this.pixels);
      if (this.pixels === pixels) this.made.textContent = made;
    });
    const groups = this.#groups(pixels);
    const background = this.#background(pixels);
    const paper = Images.sequence(pixels.map((_, n) => background[n % channels]), this.preparation);
    const x = Images.sequence(pixels, this.preparation);
    const replacements = groups.map((group) => {
      const value = x[this.steps[group[0]]].slice();
      for (const pixel of group) {
        const { step, feature } = Images.stepOf(Math.floor(pixel / width), pixel % width, this.form);
        for (let at = feature; at < feature + channels; at++) value[at] = paper[step][at];
      }
      return { step: this.steps[group[0]], value };
    });
    const losses = new Map();
    const done = await inSlices(model.occlude(x, replacements, target), signal, (loss, number) => {
      for (const pixel of groups[number]) losses.set(pixel, loss);
    });
    if (!done) return;
    const most = [...losses.values()].reduce((peak, v) => Math.max(peak, Math.abs(v)), 1e-9);
    this.grid.load(pixels, new Map([...losses].map(([pixel, loss]) => [pixel, loss / most])));
    this.made.textContent = this.#strongest(groups, losses, this.classes[target]);
  }

  /** Say which pixel, or group of pixels, mattered most. */
  #strongest(groups, losses, name) {
    if (!groups.length) return "There is no ink to erase.";
    const stronger = (best, entry) => (Math.abs(entry[1]) > Math.abs(best[1]) ? entry : best);
    const [pixel, loss] = [...losses].reduce(stronger, [0, 0]);
    const [row, column] = [Math.floor(pixel / this.form.width) + 1, (pixel % this.form.width) + 1];
    const change = `${Math.abs(loss).toFixed(2)} ${loss < 0 ? "more" : "less"} evidence`;
    const size = Math.max(...groups.map((group) => group.length));
    const [each, place] = size > 1 ? [`Up to ${size} neighbours`, "those from"] : ["Each pixel", "the pixel in"];
    return `${each} erased in turn. Without ${place} row ${row}, column ${column}, ${name} would have ${change} (logit).`;
  }

  /** Return the numbers of a pixel that shows nothing. */
  #background(pixels) {
    const { framing, channels } = this.form;
    if (framing) return [this.grid.paper];
    const plane = (_, channel) => pixels.filter((_, n) => n % channels === channel);
    return Array.from({ length: channels }, plane).map((data) => median(border({ ...this.form, data })));
  }

  /** Return groups of ink pixels: single ones, or neighbours within a step if there are too many. */
  #groups(pixels) {
    const background = this.#background(pixels);
    const isInk = (pixel) =>
      Images.numbersOf(pixels, pixel, this.form).some((v, channel) => Math.abs(v - background[channel]) > 25);
    const ink = Array.from(this.steps.keys()).filter(isInk);
    ink.sort((a, b) => this.steps[a] - this.steps[b] || a - b);
    const size = Math.ceil(ink.length / DigitInput.MOST_GROUPS);
    const groups = [];
    for (const pixel of ink) {
      const last = groups.at(-1);
      if (last && last.length < size && this.steps[last[0]] === this.steps[pixel]) last.push(pixel);
      else groups.push([pixel]);
    }
    return groups;
  }
}
