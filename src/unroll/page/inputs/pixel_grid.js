import { element, sharp } from "../dom.js";
import { Images } from "../engine/images.js";
import { blend, Palette } from "../views/palette.js";

/** The pixels that the model sees, unread ones dimmed; they can be painted with pointer and keys. */
export class PixelGrid {
  static DIM = 0.78; // how far unread pixels fade into the paper

  /**
   * `form` is the description's "image"; `steps` is the step at which each pixel is read; `ink()` is the numbers of a
   * painted pixel. `painted(pixel, ink)` is called for each changed pixel.
   */
  constructor({ form, steps, ink, painted }) {
    this.form = form;
    this.steps = steps;
    this.ink = ink;
    this.painted = painted;
    this.pixels = null;
    this.read = 0;
    this.overlay = null;
    this.cursor = null;
    this.brush = null;
    this.paper = form.framing ? form.framing.border : 255;
    this.canvas = element("canvas", {
      class: "pixels",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "picture of pixels",
      "aria-label":
        `What the model sees, ${form.width}×${form.height} pixels: ` +
        "arrow keys move, Enter or space changes a pixel",
    });
    this.canvas.style.aspectRatio = `${form.width} / ${form.height}`;
    this.words = element("p", { class: "unseen", "aria-live": "polite" });
    this.element = element("div", { class: "grid" }, this.canvas, this.words);
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]) {
      this.canvas.addEventListener(name, (event) => this.#point(event));
    }
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.canvas.addEventListener("blur", () => this.#moveTo(null));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** Whether a pixel is more ink than paper; in colour, whether it has the pen's. */
  inked(pixel) {
    if (this.pixels === null) return false;
    const numbers = Images.numbersOf(this.pixels, pixel, this.form);
    if (numbers.length === 1) return Math.abs(numbers[0] - this.paper) > 127;
    const ink = this.ink();
    return numbers.every((v, channel) => v === ink[channel]);
  }

  /** Show pixels, 0 to 255, or null; `overlay` is how much each mattered, or null: a Map from pixel to -1…1. */
  load(pixels, overlay = null) {
    this.pixels = pixels;
    this.overlay = overlay;
    this.draw();
  }

  /** Show the first `read` steps as read. */
  show(read) {
    this.read = read;
    this.draw();
  }

  draw() {
    const { width, height } = this.form;
    const [wide, high] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!wide || !high) return;
    const context = sharp(this.canvas, wide, high);
    context.imageSmoothingEnabled = false;
    if (this.pixels) context.drawImage(this.#picture(), 0, 0, wide, high);
    const [w, h] = [wide / width, high / height];
    const [accent, ink] = ["accent", "ink"].map((name) => `rgb(${Palette.colour(name).join(" ")})`);
    Object.assign(context, { strokeStyle: accent, lineWidth: 2 });
    if (this.pixels) this.#line(context, wide, high);
    if (this.cursor !== null) {
      Object.assign(context, { strokeStyle: ink, lineWidth: 1.5 });
      context.strokeRect((this.cursor % width) * w, Math.floor(this.cursor / width) * h, w, h);
    }
  }

  /** Draw where it is reading. */
  #line(context, wide, high) {
    const { width, height, read } = this.form;
    const [w, h] = [wide / width, high / height];
    context.beginPath();
    if (read === "rows") {
      const y = Math.min(high - 1, Math.max(1, this.read * h));
      context.moveTo(0, y);
      context.lineTo(wide, y);
    } else if (read === "columns") {
      const x = Math.min(wide - 1, Math.max(1, this.read * w));
      context.moveTo(x, 0);
      context.lineTo(x, high);
    } else if (this.read > 0 && this.read < this.steps.length) {
      const pixel = this.steps.indexOf(this.read - 1);
      context.rect((pixel % width) * w, Math.floor(pixel / width) * h, w, h);
    }
    context.stroke();
  }

  #picture() {
    const { width, height, framing, channels } = this.form;
    const [sheet, ink] = ["sheet", "ink"].map(Palette.colour);
    const tone = (v) => Math.sign(v) * Math.sqrt(Math.abs(v)); // so that small shares can be seen too
    const signed = Palette.diverging();
    const picture = element("canvas", { width, height });
    const context = picture.getContext("2d");
    const image = context.createImageData(width, height);
    this.steps.forEach((step, pixel) => {
      const numbers = Images.numbersOf(this.pixels, pixel, this.form);
      const [v] = numbers;
      const grey = framing ? blend(sheet, ink, Math.abs(v - this.paper) / 255) : [v, v, v];
      const own = channels === 3 ? numbers : grey;
      const colour = this.overlay ? (this.overlay.has(pixel) ? signed(tone(this.overlay.get(pixel))) : sheet) : own;
      const dimmed = step < this.read ? colour : blend(colour, sheet, PixelGrid.DIM);
      image.data.set([...dimmed, 255], 4 * pixel);
    });
    context.putImageData(image, 0, 0);
    return picture;
  }

  #at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - left) / width) * this.form.width);
    const row = Math.floor(((event.clientY - top) / height) * this.form.height);
    if (column < 0 || row < 0 || column >= this.form.width || row >= this.form.height) return null;
    return row * this.form.width + column;
  }

  #moveTo(pixel) {
    this.cursor = pixel;
    this.draw();
  }

  /** Paint with the pointer. A finger paints where it taps: where it moves, it scrolls the page. */
  #point(event) {
    const pixel = this.#at(event);
    const finger = event.pointerType === "touch";
    if (event.type === "pointerdown" && event.button === 0 && pixel !== null) {
      if (!finger) this.canvas.setPointerCapture(event.pointerId);
      this.brush = { ink: !this.inked(pixel), last: null, tap: finger ? pixel : null };
      if (!finger) this.#paint(pixel);
    } else if (event.type === "pointermove" && this.brush && !finger) {
      if (pixel !== null) this.#paint(pixel);
    } else if (event.type === "pointerup" && this.brush) {
      if (finger && pixel === this.brush.tap) this.#paint(pixel);
      this.brush = null;
    } else if (event.type === "pointercancel") {
      this.brush = null;
    }
    if (!finger) this.#moveTo(event.type === "pointerleave" ? null : pixel);
  }

  #paint(pixel) {
    if (pixel === this.brush.last) return;
    this.brush.last = pixel;
    if (this.inked(pixel) !== this.brush.ink || this.pixels === null) this.painted(pixel, this.brush.ink);
  }

  #inWords(pixel) {
    if (this.form.channels === 1 || this.pixels === null) return this.inked(pixel) ? "ink" : "paper";
    const [red, green, blue] = Images.numbersOf(this.pixels, pixel, this.form);
    return `red ${red}, green ${green}, blue ${blue}`;
  }

  #key(event) {
    const { width, height } = this.form;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const middle = Math.floor(height / 2) * width + Math.floor(width / 2);
    const at = this.cursor ?? middle;
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      const row = Math.min(height - 1, Math.max(0, Math.floor(at / width) + down));
      const column = Math.min(width - 1, Math.max(0, (at % width) + right));
      this.#moveTo(this.cursor === null ? middle : row * width + column);
    } else if (event.key === "Enter" || event.key === " ") {
      this.#moveTo(at);
      this.painted(at, !this.inked(at));
    } else {
      return;
    }
    event.preventDefault();
    const place = `row ${Math.floor(this.cursor / width) + 1}, column ${(this.cursor % width) + 1}`;
    this.words.textContent = `${place}: ${this.#inWords(this.cursor)}`;
  }
}
