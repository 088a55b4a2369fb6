import { byId, DARK, element, percent, signed, STILL } from "./dom.js";
import { Model } from "./engine/model.js";
import { DigitInput } from "./inputs/image_input.js";
import { CurveInput } from "./inputs/series_input.js";
import { SentenceInput } from "./inputs/text_input.js";
import { capital, Words } from "./views/captions.js";
import { Bars } from "./views/class_bars.js";
import { Leaders } from "./views/class_colours.js";
import { Player } from "./views/player.js";
import { Curves } from "./views/probability_curves.js";
import { Moved } from "./views/state_change.js";
import { HeatMap } from "./views/state_heatmap.js";
import { Parts } from "./views/state_parts.js";

/** @import { Description } from "./description.js" */
/** @import { Reading } from "./engine/model.js" */

/** The page: reads the input, and shows in every view as much of the reading as the player has played. */
class App {
  static INPUTS = { images: () => DigitInput, texts: () => SentenceInput, series: () => CurveInput };
  static CURVES = "One line for each class: its probability if the input ended at that step.";
  static LIVE = 25; // ms; slower readings are not repeated while the pen moves
  static PAUSE = 700; // ms after the pen is lifted, as another stroke may follow

  /** @param {Description} description */
  constructor(description) {
    this.description = description;
    this.words = new Words(description);
    this.model = new Model(description.model, description.calibration, STEPS, description.operating_point);
    this.leaders = new Leaders(description.classes.length);
    /** @type {{ reading: Reading, points: Float64Array[] } | null} */
    this.now = null;
    /** @type {typeof this.now} */
    this.before = null;
    this.cost = Infinity;
    this.layer = 0;
    this.parts = Parts.of(description.model);
    this.part = this.parts[0];
    const Input = App.INPUTS[description.kind]();
    this.#sayWhatItIs();
    this.input = new Input(byId("input"), description, (change) => this.#changed(change));
    this.player = new Player({ shown: (n) => this.#show(n), rested: (n) => this.#announce(n) });
    const seek = (share) => this.now && this.player.go(Math.round(share * this.now.reading.time));
    this.bars = new Bars(byId("bars"), description.classes, this.model);
    this.curves = new Curves(byId("curves"), description.classes, seek, description.operating_point?.threshold);
    this.moved = new Moved(byId("moved"), seek);
    const { directions, hiddenSize: units } = this.model;
    this.heat = new HeatMap(byId("heat"), { directions, units, seek, stepName: (t) => this.input.stepName(t) });
    this.#choices();
    this.#mattering();
    this.#samples(Input);
    this.#files(Input);
    byId("forget").addEventListener("click", () => this.#forget());
    DARK.addEventListener("change", () => this.#recolour());
    this.#read(this.#sequence(), { edited: false });
    if (description.samples.length) this.input.choose(0);
    this.started = true; // from here on, input comes from the user
  }

  #sayWhatItIs() {
    byId("lead").textContent = this.words.lead;
    byId("facts").textContent = this.words.facts.join(" ");
    byId("answer-hint").textContent = this.words.answerHint;
    const { unroll, title, samples } = this.description;
    const held = ["no samples of the data", "1 real sample of the test data"][samples.length];
    byId("made").textContent =
      `Made with unroll ${unroll} from the run “${title}”. ` +
      `It holds ${held ?? `${samples.length} real samples of the test data`}.`;
    const longest = Math.max(...this.description.classes.map((name) => name.length));
    document.documentElement.style.setProperty("--names", `${0.74 * Math.min(14, Math.max(2, longest))}em`);
  }

  /** React to a change of the input; `drawing`: the pen is still down, see image_input.js. */
  #changed({ edited, drawing = false }) {
    this.#say("error", "");
    if (edited && this.now) this.before ??= this.now;
    if (!edited) this.before = null;
    const finished = this.drawing && !drawing; // unchanged, but now complete
    this.drawing = drawing;
    this.#unmatter(this.#asked && (edited || finished));
    const x = this.#sequence();
    if (drawing && x?.length && this.cost * x.length > App.LIVE) {
      this.#glance(x);
      return;
    }
    this.#read(x, { edited });
    if (!this.now) return;
    if (edited) this.#resume();
    else if (drawing || STILL.matches || this.#asked) this.player.go(this.now.reading.time);
    else this.#start();
    if (this.#asked) this.#matterSoon();
  }

  /** Show only the answer, for a model too slow to show more while the pen moves. */
  #glance(x) {
    this.now = null;
    this.#mark();
    this.player.load(0, () => "");
    this.#empty();
    this.#say("where", this.description.kind === "texts" ? "As you type" : "As you draw");
    const probabilities = this.model.probabilities(x);
    this.bars.load(Bars.chosen([probabilities], this.leaders), this.leaders);
    this.bars.show(probabilities);
    this.input.show(x.length);
  }

  /** Play the reading from its beginning once drawing has stopped. */
  #start() {
    this.player.go(this.input.sample === null ? this.now.reading.time : 0);
    const byPerson = this.started;
    this.player.playSoon(App.PAUSE, () => {
      if (byPerson) document.querySelector(".answer").scrollIntoView({ block: "nearest", behavior: "smooth" });
    });
  }

  /** Keep the position after an edit. */
  #resume() {
    const { position } = this.player;
    this.player.go(this.before && position ? position : this.now.reading.time);
  }

  /** Read `x` and pass the reading to every view. */
  #read(x, { edited }) {
    const began = performance.now();
    const reading = x && x.length ? this.model.read(x) : null;
    this.now = reading && { reading, points: [this.model.probabilities([], 0), ...reading.probabilities] };
    byId("mattered").disabled = byId("target").disabled = !reading;
    this.#mark();
    this.player.load(reading?.time ?? 0, (position) => this.words.position(position, reading.time, this.#stepName));
    if (!reading) {
      this.#empty();
      return;
    }
    this.leaders.choose(reading, edited && this.before !== null);
    const shown = Bars.chosen(reading.probabilities, this.leaders);
    this.bars.load(shown, this.leaders);
    this.curves.load({
      points: this.now.points,
      before: this.before?.points ?? null,
      decided: reading.decided,
      numbers: shown,
      leaders: this.leaders,
    });
    if (!this.#asked) byId("target").value = String(reading.final ?? reading.predicted);
    this.#heat();
    this.cost = Math.min(this.cost, (performance.now() - began) / reading.time); // per step; the minimum, as the first readings are slow
  }

  /** The input as the model reads it; null if it cannot be read. */
  #sequence() {
    try {
      return this.input.sequence;
    } catch (error) {
      this.#say("error", error.message);
      return null;
    }
  }

  #stepName = (t) => this.input.stepName(t);

  #empty() {
    const few = Math.min(Bars.MOST_CLASSES, this.model.classes);
    this.bars.load(Array.from({ length: few }, (_, number) => number), this.leaders);
    this.bars.show(null);
    this.curves.clear();
    this.heat.clear();
    byId("comparison").hidden = true;
    this.#say("where", "Nothing to read yet");
    this.#say("now", "");
    this.#say("curves-hint", App.CURVES);
    this.input.show(0);
  }

  #heat() {
    this.heat.load(this.now.reading, this.layer, this.part, this.before !== null);
    byId("heat-hint").textContent = this.words.heatHint(this.part, this.layer);
    const { share, most } = this.heat;
    const ramp = element("span", { class: `ramp ${share ? "share" : "sign"}` });
    const digits = most === 1 ? 0 : 1;
    byId("heat-key").replaceChildren(share ? "0" : signed(-most, digits), ramp, signed(most, digits));
    const same = this.before?.reading.time === this.now.reading.time;
    byId("comparison").hidden = !this.before;
    byId("comparison-hint").textContent = this.words.comparisonHint(same);
    byId("moved").hidden = !same;
    if (same) this.moved.load(this.before.reading, this.now.reading, this.layer);
  }

  /** Show the first `position` steps as read. */
  #show(position) {
    if (!this.now) return;
    const { reading, points } = this.now;
    const [probabilities, time] = [points[position], reading.time];
    this.bars.show(probabilities, this.before?.points[position]);
    this.curves.show(position);
    this.heat.show(position);
    this.input.show(position);
    const words = this.words.position(position, time, this.#stepName);
    this.#say("where", capital(words));
    const answer = this.model.decide(probabilities);
    this.#say("now", !position ? "" : this.#named(probabilities, ": "));
    byId("now").className = answer === null ? "class-other" : this.leaders.of(answer);
    this.#say("curves-hint", position === time ? this.words.decided(reading, this.#stepName) : App.CURVES);
  }

  /** Announce the position to screen readers. */
  #announce(position) {
    if (!this.now) return;
    const probabilities = this.now.points[position];
    const words = this.words.position(position, this.now.reading.time, this.#stepName);
    this.#say("status", `${words}: ${this.#named(probabilities, ", ")}`);
  }

  /** The answer and its probability in words. */
  #named(probabilities, between) {
    const answer = this.model.decide(probabilities);
    if (answer === null) return Words.UNSURE;
    return `${this.description.classes[answer]}${between}${percent(probabilities[answer])}`;
  }

  #say(id, words) {
    const place = byId(id);
    if (place.textContent !== words) place.textContent = words;
    if (id === "error") place.hidden = !words;
  }

  #forget() {
    this.before = null;
    this.#read(this.#sequence(), { edited: false });
    this.player.go(this.player.position);
    this.player.button.focus();
  }

  #recolour() {
    if (this.now) this.heat.draw();
    this.input.show(this.now ? this.player.position : 0);
  }

  /** Set up the choice of the layer and the gate shown in the heat map. */
  #choices() {
    const [layer, part] = [byId("layer"), byId("part")];
    const count = this.model.layers;
    layer.append(...Array.from({ length: count }, (_, n) => element("option", { value: n }, `${n + 1} of ${count}`)));
    byId("layer-label").hidden = count < 2;
    part.append(...this.parts.map(({ key, name }) => element("option", { value: key }, name)));
    byId("part-label").hidden = this.parts.length < 2;
    for (const select of [layer, part]) {
      select.addEventListener("change", () => {
        [this.layer, this.part] = [Number(layer.value), this.parts[part.selectedIndex]];
        if (this.now) this.#heat();
      });
    }
  }

  #mattering() {
    const target = byId("target");
    const name = (label, number) => element("option", { value: number }, label);
    target.append(...this.description.classes.map(name));
    byId("mattered").addEventListener("click", () => {
      if (this.#asked) this.#unmatter(false);
      else this.#matter();
    });
    target.addEventListener("change", () => {
      if (this.#asked) this.#matter();
    });
  }

  /** Whether "What mattered?" is switched on. */
  get #asked() {
    return byId("mattered").getAttribute("aria-pressed") === "true";
  }

  async #matter() {
    this.#unmatter(true);
    if (!this.now) return;
    this.asking = new AbortController();
    const { signal } = this.asking;
    byId("mattered").setAttribute("aria-pressed", "true");
    byId("mattered-key").hidden = false;
    this.player.go(this.now.reading.time);
    await this.input.mattered(this.model, signal, Number(byId("target").value));
  }

  #matterSoon() {
    clearTimeout(this.mattering);
    this.mattering = setTimeout(() => this.#matter(), 300);
  }

  /** Remove the display of what mattered; `pressed`: it will be computed again. */
  #unmatter(pressed) {
    clearTimeout(this.mattering);
    this.asking?.abort();
    this.asking = null;
    byId("mattered").setAttribute("aria-pressed", String(pressed));
    byId("mattered-key").hidden = !pressed;
  }

  #samples(Input) {
    const { samples, classes } = this.description;
    this.buttons = samples.map((sample, n) => {
      const words = `Sample ${n + 1}: a real ${classes[sample.label]}`;
      const button = element("button", { type: "button", class: "sample", "aria-label": words, title: words });
      button.addEventListener("click", () => this.input.choose(n));
      button.append(Input.thumbnail(sample, this.description));
      return button;
    });
    byId("samples").append(...this.buttons);
    byId("samples-title").hidden = byId("samples").hidden = !samples.length;
  }

  /** Mark the chosen sample. */
  #mark() {
    this.buttons?.forEach((button, n) => button.setAttribute("aria-pressed", String(n === this.input.sample)));
  }

  #files(Input) {
    const file = byId("file");
    file.accept = Input.accepts;
    byId("file-words").textContent = this.words.file;
    file.addEventListener("change", async () => {
      if (file.files.length) await this.#take(file.files[0]);
      file.value = ""; // so that the same file can be chosen again
    });
    const over = (event) => {
      event.preventDefault();
      document.documentElement.classList.toggle("dropping", event.type === "dragover");
    };
    for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, over);
    document.addEventListener("drop", (event) => {
      if (event.dataTransfer.files.length) this.#take(event.dataTransfer.files[0]);
    });
  }

  /** Read a file; if that fails, show the error and keep the current input. */
  async #take(file) {
    this.#say("error", "");
    try {
      await this.input.take(file);
    } catch (error) {
      this.#say("error", error.message);
    }
  }
}

new App(JSON.parse(byId("description").textContent));
