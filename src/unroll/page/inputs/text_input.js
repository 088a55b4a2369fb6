import { element, grouped, percent, shortened, signed } from "../dom.js";
import { Texts } from "../engine/tokenizer.js";
import { inSlices, textOf, tooLong } from "../work_slices.js";
import { Passage } from "./token_view.js";

/** @import { Description } from "../description.js" */
/** @import { Model } from "../engine/model.js" */

/** Input for texts: a field to type in, and the words as the model reads them. */
export class SentenceInput {
  static explanation = "Type a sentence, or drop a text file onto the page.";
  static accepts = ".txt,text/plain";
  static MOST_CHARACTERS = 20_000; // of a text
  static NAME_LENGTH = 24; // characters of a word shown in messages
  static FEW_WORDS = 100; // most words that are read again at every key
  static SLOW = 40; // ms; a faster model reads longer texts again at every key too
  static PAUSE = 600; // ms without a key that count as a pause
  static PATIENCE = 8_000; // most ms for leaving out each word in turn; if it takes longer, several are left out together

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
    this.text = "";
    this.count = 0;
    this.words = [];
    this.steps = [];
    this.left = new Set();
    this.chosen = null;
    this.cost = 0;
    const { vocab, unk_token: unknown } = preparation.tokenizer.model;
    this.unknown = vocab[unknown];
    this.unit = Texts.unit(preparation.tokenizer);
    this.field = element("textarea", {
      class: "field",
      rows: 2,
      placeholder: "Type here…",
      "aria-label": "The text to read",
      spellcheck: "false",
      autocapitalize: "off",
      input: () => this.#type(),
    });
    this.passage = new Passage({ toggled: (number) => this.#toggle(number) });
    this.heading = element("h2", {});
    this.legend = element("p", { class: "made legend" });
    const clear = element("button", { type: "button", class: "slight", click: () => this.#clear() }, "Clear");
    this.back = element("button", { type: "button", class: "slight", click: () => this.#putBack() }, "Put all back");
    const parts = this.unit === "piece" ? "pieces of words" : preparation.ngram_buckets ? "parts of words too" : "";
    const what = parts && ` It reads ${parts}, so it can also use words that it has never seen.`;
    root.append(
      element(
        "section",
        { class: "card whole", "aria-label": "Write" },
        element("div", { class: "heading" }, element("h2", {}, "Write"), clear),
        element("p", { class: "hint" }, SentenceInput.explanation),
        this.field,
      ),
      element(
        "section",
        { class: "card whole", "aria-label": "What it reads" },
        element("div", { class: "heading" }, this.heading, this.back),
        element("p", { class: "hint" }, `The line shows how far it has read. Click a ${this.unit} to leave it out.${what}`),
        this.passage.element,
        this.legend,
      ),
    );
    this.#take("", null);
  }

  /** Return the thumbnail of a sample: its beginning and its class. */
  static thumbnail(sample, { classes }) {
    const begins = shortened(sample.x.trim(), 40);
    return element("span", { class: "excerpt" }, element("span", {}, begins), element("small", {}, classes[sample.label]));
  }

  get sequence() {
    if (this.isTooLong) throw tooLong("The text", SentenceInput.MOST_CHARACTERS);
    return this.steps.length ? this.steps.map(({ value }) => value) : null;
  }

  get isTooLong() {
    return this.text.length > SentenceInput.MOST_CHARACTERS;
  }

  get sample() {
    return this.chosen;
  }

  stepName(t) {
    const { from, to } = this.words[this.steps[t].word];
    return `the ${this.unit} “${shortened(this.text.slice(from, to), SentenceInput.NAME_LENGTH)}”`;
  }

  show(t) {
    this.passage.show(t ? (this.steps[t - 1]?.word ?? -1) + 1 : 0);
  }

  choose(n) {
    this.field.value = this.samples[n].x;
    this.#take(this.samples[n].x, n);
    this.changed({ edited: false });
  }

  clear() {
    this.field.value = "";
    this.#take("", null);
  }

  #clear() {
    this.clear();
    this.changed({ edited: false });
    this.field.focus();
  }

  async take(file) {
    const text = (await textOf(file, SentenceInput.MOST_CHARACTERS, "a text")).trim();
    const tokens = Texts.tokens(text, this.preparation);
    if (!tokens.numbers.length) throw new Error(`${file.name} must contain at least one word, got none`);
    this.field.value = text;
    this.#take(text, null, tokens);
    this.changed({ edited: false });
  }

  /** Read the typed text, a long one only when typing pauses; then play it from its beginning. */
  #type() {
    clearTimeout(this.waiting);
    const read = (drawing) => {
      const began = performance.now();
      if (drawing || this.text !== this.field.value) this.#take(this.field.value, null);
      this.changed({ edited: false, drawing });
      this.cost = performance.now() - began;
    };
    if (this.cost < SentenceInput.SLOW || this.words.length < SentenceInput.FEW_WORDS) read(true);
    this.waiting = setTimeout(() => read(false), SentenceInput.PAUSE);
  }

  #take(text, chosen, tokens = null) {
    clearTimeout(this.waiting);
    this.text = text;
    const read = this.isTooLong ? "" : text;
    const { numbers, steps, places, count } = tokens ?? Texts.tokens(read, this.preparation);
    const words = [];
    numbers.forEach((number, at) => {
      const [from, to] = places[at];
      const unknown = number === this.unknown;
      const last = words.at(-1);
      // One character may become several tokens, such as ½.
      const values = [steps[at]];
      if (last && from < last.to) Object.assign(last, { values: [...last.values, ...values], to: Math.max(to, last.to) });
      else words.push({ from, to, values, unknown });
    });
    this.count = count;
    this.words = words;
    this.chosen = chosen;
    this.left = new Set();
    this.passage.load(read, words);
    this.#count();
  }

  #toggle(number) {
    if (!this.left.delete(number)) this.left.add(number);
    this.#edited();
  }

  #putBack() {
    this.left.clear();
    /** @type {HTMLElement} */ (this.passage.element.querySelector('[tabindex="0"]')).focus();
    this.#edited();
  }

  #edited() {
    if (this.text === this.field.value) clearTimeout(this.waiting); // otherwise it would restart
    this.chosen = null;
    this.passage.mark(this.left);
    this.#count();
    this.changed({ edited: true });
  }

  /** Update the steps, the heading and the legend after a change. */
  #count() {
    const kept = this.words.map((word, number) => ({ ...word, number })).filter(({ number }) => !this.left.has(number));
    this.steps = kept.flatMap(({ values, number: word }) => values.map((value) => ({ value, word })));
    const many = this.steps.length === 1 ? `one ${this.unit}` : `${grouped(this.steps.length)} ${this.unit}s`;
    this.heading.textContent = this.steps.length ? `What it reads: ${many}` : "What it reads";
    this.back.hidden = !this.left.size;
    this.#explain();
  }

  /** Explain the visible marks; `weighed`: also those of what mattered. */
  #explain(...weighed) {
    const lines = [];
    const how = this.preparation.ngram_buckets ? "the model reads its parts" : `all such ${this.unit}s look the same to the model`;
    const alike = `not in the vocabulary: ${how}`;
    if (this.words.some(({ unknown }) => unknown)) lines.push(SentenceInput.#sample("unknown read", alike));
    if (this.left.size) lines.push(SentenceInput.#sample("left", "left out"));
    const most = this.preparation.time_steps?.max_length ?? Infinity;
    if (this.count > most) {
      const what = `The first ${grouped(most)} of ${grouped(this.count)} ${this.unit}s are read, as unroll predict does.`;
      lines.push(element("span", {}, what));
    }
    this.legend.replaceChildren(...lines, ...weighed);
  }

  /** Return an entry of the legend. */
  static #sample(look, words) {
    return element("span", {}, element("span", { class: `word ${look}`, "aria-hidden": "true" }, "word"), ` ${words}`);
  }

  /**
   * @param {Model} model
   * @param {AbortSignal} signal
   * @param {number} target
   */
  async mattered(model, signal, target) {
    const { sequence: x, steps } = this;
    const size = this.#together(model, x);
    const count = Math.ceil(steps.length / size);
    const what = size > 1 ? `${grouped(size)} ${this.unit}s at a time, as the text is long` : `each ${this.unit}`;
    const progress = element("span", {});
    signal.addEventListener("abort", () => {
      this.passage.unweigh();
      this.#explain();
    });
    this.#explain(progress);
    const losses = new Map();
    const done = await inSlices(SentenceInput.#losses(model, x, target, size), signal, (loss, number) => {
      for (const { word } of steps.slice(number * size, (number + 1) * size)) {
        losses.set(word, size > 1 ? loss : (losses.get(word) ?? 0) + loss);
      }
      progress.textContent = `Reading the text again without ${what}: ${percent((number + 1) / count)}`;
    });
    if (!done) return;
    const name = this.classes[target];
    const most = [...losses.values()].reduce((peak, v) => Math.max(peak, Math.abs(v)), 1e-9);
    for (const [word, loss] of losses) {
      this.passage.weigh(word, loss / most, `${signed(loss)}, ${loss < 0 ? "against" : "for"} ${name}`);
    }
    this.#explain(
      SentenceInput.#sample("weighed read", `without it, less sure of ${name}`),
      SentenceInput.#sample("weighed opposed read", `without it, more sure of ${name}`),
      ...(size > 1 ? [element("span", {}, `Left out: ${what}.`)] : []),
    );
  }

  /** Yield the loss of the class's logit without each step, or without each `size` steps. */
  static *#losses(model, x, target, size) {
    if (size === 1) {
      yield* model.occlude(x, Array.from(x, (_, step) => ({ step, value: null })), target);
      return;
    }
    const whole = model.logits(x)[target];
    for (let from = 0; from < x.length; from += size) {
      yield whole - model.logits([...x.slice(0, from), ...x.slice(from + size)])[target];
    }
  }

  /** Return how many steps to leave out together: one, or more if that would take too long. */
  #together(model, x) {
    const began = performance.now();
    model.probabilities(x);
    const all = (performance.now() - began) * x.length;
    // Leaving out single steps is faster for a model that reads forwards, which need not read earlier steps again.
    return all <= SentenceInput.PATIENCE * (model.directions === 1 ? 2 : 1) ? 1 : Math.ceil(all / SentenceInput.PATIENCE);
  }
}
