import { byId } from "../dom.js";

/** Controls how many steps have been read: buttons, slider, keys, and a clock while playing. */
export class Player {
  static SEQUENCE_MS = 4500; // for a whole sequence at normal speed
  static MOST_STEP_MS = 220;

  /** `shown(position)` is called at every move, `rested(position)` when it stops. */
  constructor({ shown, rested }) {
    this.shown = shown;
    this.rested = rested;
    this.time = 0;
    this.position = 0;
    this.playing = false;
    /** @type {(position: number) => string} */
    this.name = () => "";
    this.slider = byId("scrub");
    this.button = byId("play");
    this.speed = byId("speed");
    this.button.addEventListener("click", () => this.toggle());
    byId("back").addEventListener("click", () => this.step(-1));
    byId("forth").addEventListener("click", () => this.step(1));
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Load a sequence of `time` steps; `name(position)` describes a position. */
  load(time, name) {
    this.time = time;
    this.name = name;
    this.slider.max = String(time || 1);
    for (const control of [this.slider, this.button, byId("back"), byId("forth")]) control.disabled = time === 0;
    if (time) return;
    this.pause(false);
    this.#place(0, "nothing to read yet");
  }

  /** Go to a position: the number of steps read. */
  go(position) {
    if (!this.time) return;
    this.pause(false);
    this.#set(position);
    this.#restSoon();
  }

  step(by) {
    this.go(this.position + by);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play(this.position >= this.time ? 0 : this.position);
  }

  /** Play from a position, at the chosen speed. */
  play(from) {
    if (!this.time) return;
    clearTimeout(this.soon);
    this.#playing(true);
    this.#set(from);
    let last = performance.now();
    let done = from;
    const tick = (now) => {
      if (!this.playing) return;
      const each = Math.min(Player.MOST_STEP_MS, Player.SEQUENCE_MS / this.time) / Number(this.speed.value);
      document.documentElement.style.setProperty("--step", `${Math.min(120, 0.8 * each)}ms`);
      done += Math.max(0, now - last) / each;
      last = now;
      if (Math.floor(done) > this.position) this.#set(Math.floor(done));
      if (this.position >= this.time) this.pause();
      else this.frame = requestAnimationFrame(tick);
    };
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(tick);
  }

  /** Play from the beginning after a delay, unless something else happens; `starting` is called just before. */
  playSoon(ms, starting) {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => {
      starting();
      this.play(0);
    }, ms);
  }

  pause(resting = true) {
    clearTimeout(this.soon);
    cancelAnimationFrame(this.frame);
    clearTimeout(this.resting);
    if (this.playing && resting) this.#restSoon();
    this.#playing(false);
  }

  #playing(playing) {
    this.playing = playing;
    this.button.setAttribute("aria-label", playing ? "Pause" : "Play");
    document.documentElement.classList.toggle("playing", playing);
  }

  #set(position) {
    const place = Math.min(this.time, Math.max(0, position));
    this.#place(place, this.name(place));
    this.shown(place);
  }

  #place(position, words) {
    this.position = position;
    this.slider.value = String(position);
    this.slider.setAttribute("aria-valuetext", words);
    this.slider.style.setProperty("--done", `${(100 * position) / Math.max(1, this.time)}%`);
  }

  #restSoon() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.rested(this.position), 400);
  }

  /** Handle keys that the focused control does not use. */
  #key(event) {
    const { target, key } = event;
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (target === this.slider && key === " ") this.toggle();
    if (target.closest("input, select, textarea, [contenteditable]")) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (key in moves) this.step(moves[key]);
    else if (key === " " && !target.closest("button, a, summary, label")) this.toggle();
    else return;
    event.preventDefault();
  }
}
