import { grouped, percent } from "../dom.js";
import { Model } from "../engine/model.js";
import { Texts } from "../engine/tokenizer.js";

/** @import { Description } from "../description.js" */
/** @import { Reading } from "../engine/model.js" */
/** @import { Part } from "./state_parts.js" */

/** The texts of the page about its model. */
export class Words {
  static UNSURE = "unsure";

  /** @param {Description} description */
  constructor(description) {
    const { kind, classes, model, calibration, operating_point: point, preparation, facts } = description;
    this.kind = kind;
    this.classes = classes;
    this.model = model;
    this.calibration = calibration;
    this.point = point;
    this.preparation = preparation;
    this.known = facts;
  }

  /** The name of a step: "row", "word" … */
  get step() {
    if (this.kind === "texts") return Texts.unit(this.preparation.tokenizer);
    if (this.kind === "series") return "time step";
    return { rows: "row", columns: "column" }[this.preparation.image.read] ?? "pixel";
  }

  /** The name of the whole input. */
  get whole() {
    return { images: "picture", texts: "text", series: "series" }[this.kind];
  }

  get lead() {
    const { hidden_size: units, num_layers: layers, bidirectional } = this.model;
    const numbers = units * layers * (bidirectional ? 2 : 1);
    const way = {
      images: { row: ", from the top", column: ", from the left" }[this.step] ?? ", one after the other",
      texts: ", as we do",
      series: "",
    }[this.kind];
    const unit = this.step === "piece" ? "word, or piece of a word," : this.step;
    const order = this.preparation.image?.read === "permuted" ? ", in an order that was shuffled once" : way;
    const both = bidirectional ? " A second reader does the same from the other end." : "";
    return (
      `This recurrent neural network never sees the ${this.whole} as a whole: it reads ${this.#once(unit)}` +
      `${order}, and all that it remembers is ${grouped(numbers)} numbers, its hidden state.${both} ` +
      "Watch it make up its mind."
    );
  }

  /** How much of the input is read at once: one step, or several. */
  #once(unit) {
    const { frame, hop } = this.model.front;
    const [width, stride] = this.model.stem ? this.#window : [frame, hop];
    return width === 1 ? `one ${unit} at a time` : `${width} ${unit}s at a time, each time ${stride} further on`;
  }

  /** The model, its accuracy, and the check of the page: a list of sentences. */
  get facts() {
    const { cell, nonlinearity, hidden_size: units, num_layers: layers, bidirectional } = this.model;
    const { accuracy, n, recordings, data, credit, parameters, checked, difference } = this.known;
    const kind = { rnn: nonlinearity, lstm: "LSTM", gru: "GRU", lru: "LRU", indrnn: `IndRNN (${nonlinearity})` }[cell];
    const name = kind ?? { mingru: "minGRU", minlstm: "minLSTM" }[cell] ?? cell.split(":").at(-1);
    const many = ["no layer", "one layer", "two layers", "three layers", "four layers"][layers] ?? `${layers} layers`;
    const sentences = [
      `${capital(many)} of ${units} ${name} units${bidirectional ? ", bidirectional" : ""}: ` +
        `${grouped(parameters)} learned numbers.`,
    ];
    if (typeof accuracy === "number") {
      const right = (share) => `${(100 * share).toFixed(1)}\u202f%`;
      const most = this.point ? ", if the most probable class is answered" : "";
      const whole = recordings
        ? `, and on ${counted(recordings.n, "recording")}, each by the mean of its windows, ${right(recordings.accuracy)}`
        : "";
      sentences.push(`Its accuracy on ${grouped(n)} test ${this.plural} of ${data} is ${right(accuracy)}${whole}${most}.`);
    }
    sentences.push(
      this.calibration
        ? `Its confidence was calibrated on ${grouped(this.calibration.n)} ${this.plural} held out from training.`
        : "Its confidence was not calibrated: it is often too high.",
    );
    sentences.push(...this.#deciding);
    if (checked) {
      const real = `${checked} real ${checked === 1 ? this.item : this.plural}`;
      sentences.push(`This page's probabilities were compared with PyTorch's on ${real}: they agree within ${small(difference)}.`);
    }
    sentences.push("Your input never leaves this page.");
    if (credit) sentences.push(credit);
    return sentences;
  }

  /** What the operating point makes of the probabilities: sentences. */
  get #deciding() {
    if (!this.point) return [];
    const { positive, threshold, reject, chosen } = this.point;
    const sentences = [];
    if (positive !== null) {
      const [name, rest] = [this.classes[positive], this.classes[1 - positive]];
      sentences.push(
        `It answers ${name} where its probability is at least ${exact(threshold)} (${chosen}), and ${rest} elsewhere.`,
      );
    }
    if (reject !== null) {
      sentences.push(`It answers “${Words.UNSURE}” where the answer has a probability below ${exact(reject)}.`);
    }
    return sentences;
  }

  /** What the data holds: whole inputs, or windows of them. */
  get item() {
    return this.kind === "series" && this.preparation.time_steps?.window ? "window" : this.whole;
  }

  get plural() {
    return this.item === "series" ? "series" : `${this.item}s`;
  }

  get file() {
    return { images: "Open a picture…", texts: "Open a text…", series: "Open a file…" }[this.kind];
  }

  get answerHint() {
    const line = `The model's answer, and its confidence, if the ${this.whole} ended at the line.`;
    if (this.known.early !== 0) return line; // trained to answer early, or nobody knows how it was trained
    return `${line} It was trained to answer at the end only: its earlier answers are often wrong.`;
  }

  /**
   * Say since which step the answer has not changed.
   *
   * @param {Reading} reading
   * @param {(t: number) => string} stepName
   */
  decided(reading, stepName) {
    const { decided, final, time } = reading;
    if (final === null) {
      const when = decided === time ? "at the end" : decided === 1 ? `from the first ${this.step} on` : `since ${stepName(decided - 1)}`;
      return `Its answer is “${Words.UNSURE}” ${when}: the probability is below ${exact(this.point.reject)}.`;
    }
    const name = this.classes[final];
    const probability = percent(reading.probabilities[time - 1][final]);
    const byThreshold = this.point !== null && this.point.positive !== null; // the answer may be improbable
    const sure = byThreshold ? `with a probability of ${probability}` : `${probability} sure`;
    const end = byThreshold ? `at the end its probability is ${probability}` : `at the end it is ${sure}`;
    if (decided === 1) return `It answers ${name} from the first ${this.step} on; ${end}.`;
    const since = stepName(decided - 1);
    const asked = reading.coarse ? ` (checked at ${Model.MARKS} places)` : "";
    if (decided === time && !asked) return `It only decides at the very end: ${since} makes it answer ${name}, ${sure}.`;
    return `It has answered ${name} since ${since}, the dotted line${asked}; ${end}.`;
  }

  /**
   * Explain the heat map of a part.
   *
   * @param {Part} part
   * @param {number} layer
   */
  heatHint({ meaning, width }, layer) {
    const { num_layers: layers, bidirectional } = this.model;
    const which = layers > 1 ? ` of layer ${layer + 1} of ${layers}` : "";
    const both =
      ` The second reader's map fills from the other end. Both maps show the whole ${this.whole}; ` +
      "the curves show the answer if it ended at the line.";
    const ways = bidirectional ? both : "";
    if (meaning) return `${meaning}${ways}`;
    return (
      `Each row is one of the ${width} numbers${which}; ${this.#changes} changes them all. ` +
      `Similar rows are next to each other. Point at a place to see its number.${ways}`
    );
  }

  /** How many time steps an output of the stem is made of, and from one output to the next. */
  get #window() {
    const { kernels, strides } = this.model.stem;
    return [kernels[0] + (kernels[1] - 1) * strides[0], strides[0] * strides[1]];
  }

  get #changes() {
    const { frame } = this.model.front;
    if (this.model.stem) return `each window of ${this.#window[0]} ${this.step}s, shown at those in its middle,`;
    return frame === 1 ? `each ${this.step}` : `each frame of ${frame} ${this.step}s, shown from its first new one on,`;
  }

  /** Explain the comparison with the input before an edit; only inputs of the `same` length have steps to compare. */
  comparisonHint(same) {
    const what = { images: "pixel", texts: this.step, series: "point" }[this.kind];
    const { frame, scaling } = this.model.front;
    const scaled = scaling === "series" || scaling === "both";
    const parts = this.model.stem ? "windows" : "frames";
    const first = frame === 1 && !this.model.stem ? "later states" : `the states of its ${parts} and later ones`;
    const forwards = scaled
      ? `If you change a ${what}, the series is scaled differently, so all states can change.`
      : `If you change a ${what}, only ${first} can change.`;
    const both = " The second reader comes from the other end, so for it only earlier states can change.";
    const lines = "The dashed lines above show the state before your change.";
    if (!same) return `${lines} The length has changed, so the states cannot be compared step by step.`;
    return `${forwards}${this.model.bidirectional && !scaled ? both : ""} ${lines}`;
  }

  /** The position in words. */
  position(position, time, stepName) {
    if (!time) return "";
    if (!position) return "Nothing read yet";
    const name = stepName(position - 1);
    return name.endsWith(String(position)) ? `after ${name} of ${time}` : `after ${name}, ${position} of ${time}`;
  }
}

/** Return a number of things in words. */
const counted = (count, thing) => `${grouped(count)} ${thing}${count === 1 ? "" : "s"}`;

export const capital = (words) => words[0].toUpperCase() + words.slice(1);

/** Return a probability as unroll writes it, in six digits at most. */
const exact = (probability) => String(Number(probability.toPrecision(6)));

/** Return a small number in full, rounded up to one digit: "0.000 000 3". */
function small(number) {
  if (!(number > 0)) return "0.000\u202f000\u202f1";
  const digits = Math.max(1, Math.ceil(-Math.log10(number)));
  const rounded = (Math.ceil(number * 10 ** digits - 1e-9) / 10 ** digits).toFixed(digits);
  const [whole, rest] = rounded.split(".");
  return `${whole}.${rest.replace(/(\d{3})(?=\d)/g, "$1\u202f")}`;
}
