import { element } from "../dom.js";

/** A sheet to draw on, black on white, which the style sheet inverts in the dark scheme; or with a pen of a colour. */
export class Pad {
  static WIDTH = 280; // pixels
  static HEIGHT = 281; // not square, which skips the check for enlarged small pictures
  static PEN = 20; // pixels wide, like MNIST's strokes if a digit fills most of the sheet

  #ink;

  /**
   * `ink` is the colour of the pen (default: black). `drawing()` is called while the pen moves, at most once a frame;
   * `lifted()` when it leaves the sheet.
   */
  constructor({ hint, drawing, lifted, ink = null }) {
    this.drawing = drawing;
    this.lifted = lifted;
    this.drawn = false;
    this.pen = null;
    this.canvas = element("canvas", {
      class: ink ? "pad colour" : "pad",
      width: Pad.WIDTH,
      height: Pad.HEIGHT,
      role: "img",
      "aria-label": "Sheet to draw on with mouse, finger or pen. With the keyboard, draw in the pixels that follow.",
    });
    this.hint = element("p", { class: "hint", "aria-hidden": "true" }, hint);
    this.element = element("div", { class: "sheet" }, this.canvas, this.hint);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.#up());
    this.#ink = ink ?? "#000000";
    this.clear();
  }

  /** Change the colour of the pen. */
  set ink(colour) {
    this.#ink = colour;
    this.#dip();
  }

  /** The contents of the sheet: {width, height, data}, RGBA. */
  get picture() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  clear() {
    this.#blank(false);
  }

  /** Show a picture instead, as large as fits. */
  show(picture) {
    this.#blank(true);
    const scale = Math.min(Pad.WIDTH / picture.width, Pad.HEIGHT / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    this.context.drawImage(picture, (Pad.WIDTH - width) / 2, (Pad.HEIGHT - height) / 2, width, height);
    this.element.classList.add("full");
  }

  #blank(photo) {
    this.drawn = false;
    this.element.classList.remove("full");
    this.canvas.classList.toggle("photo", photo);
    Object.assign(this.context, { fillStyle: photo ? "#808080" : "#ffffff", shadowBlur: 0 });
    Object.assign(this.context, { lineWidth: Pad.PEN, lineCap: "round", lineJoin: "round" });
    this.context.fillRect(0, 0, Pad.WIDTH, Pad.HEIGHT);
    this.#dip();
  }

  /** Take ink with soft edges, as in scans. */
  #dip() {
    const ink = this.#ink;
    Object.assign(this.context, { fillStyle: ink, strokeStyle: ink, shadowColor: ink, shadowBlur: 3 });
  }

  /** @returns {[number, number]} */
  #place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * Pad.WIDTH, ((event.clientY - top) / height) * Pad.HEIGHT];
  }

  #down(event) {
    if (event.button !== 0 || this.pen) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    if (!this.drawn) this.clear();
    this.drawn = true;
    this.element.classList.add("full");
    const at = this.#place(event);
    this.pen = { id: event.pointerId, at, middle: at };
    this.context.beginPath(); // a dot, as a line of length 0 draws nothing
    this.context.arc(...at, Pad.PEN / 2, 0, 2 * Math.PI);
    this.context.fill();
    this.#later();
  }

  #move(event) {
    if (event.pointerId !== this.pen?.id) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.#stroke((events.length ? events : [event]).map((point) => this.#place(point)));
  }

  /** Continue the stroke through further places, with rounded corners. */
  #stroke(places) {
    for (const at of places) {
      /** @type {[number, number]} */
      const middle = [(this.pen.at[0] + at[0]) / 2, (this.pen.at[1] + at[1]) / 2];
      this.context.beginPath();
      this.context.moveTo(...this.pen.middle);
      this.context.quadraticCurveTo(...this.pen.at, ...middle);
      this.context.stroke();
      Object.assign(this.pen, { at, middle });
    }
    this.#later();
  }

  /** Report the drawing once per frame. */
  #later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.pen) this.drawing();
    });
  }

  #up() {
    if (!this.pen) return;
    this.pen = null;
    this.lifted();
  }
}
