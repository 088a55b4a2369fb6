import { decode } from "./decode.js";
import { Front } from "./front.js";
import { Stem } from "./stem.js";
import { Cell } from "./step.js";
import { joined, linear, normalised } from "./vectors.js";

/** @import { Calibration, ModelDescription, OperatingPoint, Step } from "../description.js" */
/** @import { State } from "./step.js" */
/** @import { Weight } from "./vectors.js" */

/*
 * A sequence classifier: a front that makes frames of time steps, or a stem of convolutions, layers of cells, a readout
 * that reduces their outputs to one vector, and a head that computes one number for each class. See step.js for a
 * single step of a cell.
 */

/** Return probabilities from logits, divided by a temperature. */
function softmax(logits, temperature) {
  const highest = Math.max(...logits);
  const powers = logits.map((v) => Math.exp((v - highest) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}

/** Return the index of the greatest of some numbers. */
export const largest = (numbers) => numbers.reduce((best, v, index) => (v > numbers[best] ? index : best), 0);

/** The readouts: each adds one vector to an accumulator, which is never changed in place. */
const READOUTS = {
  last: { start: () => null, add: (_, vector) => vector, result: (held, width) => held ?? new Float64Array(width) },
  mean: {
    start: (width) => ({ sum: new Float64Array(width), count: 0 }),
    add: ({ sum, count }, vector) => ({ sum: sum.map((v, unit) => v + vector[unit]), count: count + 1 }),
    result: ({ sum, count }) => sum.map((v) => v / Math.max(1, count)),
  },
  max: {
    start: () => null,
    add: (held, vector) => (held ? held.map((v, unit) => Math.max(v, vector[unit])) : vector),
    result: (held, width) => held ?? new Float64Array(width),
  },
  // A mean weighted by exp(score), relative to the highest score, as exp() of a high score would overflow.
  attention: {
    start: (width) => ({ peak: -Infinity, weight: 0, sum: new Float64Array(width) }),
    add({ peak, weight, sum }, vector, weights) {
      const hints = linear(weights["readout.projection.weight"], weights["readout.projection.bias"], vector);
      const score = hints.reduce((total, v, unit) => total + Math.tanh(v) * weights["readout.query"].data[unit], 0);
      const highest = Math.max(peak, score);
      const [fade, own] = [Math.exp(peak - highest), Math.exp(score - highest)];
      return { peak: highest, weight: fade * weight + own, sum: sum.map((v, unit) => fade * v + own * vector[unit]) };
    },
    result: ({ weight, sum }) => sum.map((v) => v / Math.max(1, weight)),
  },
};

/** A trained model, made from the part "model" of a page's description. */
export class Model {
  /**
   * How many times a model is asked within a long sequence that reads everything again each time, as it is
   * bidirectional, scales each series by itself or has a stem that looks ahead.
   */
  static MARKS = 28;

  /**
   * @param {ModelDescription} description
   * @param {Calibration | null} calibration
   * @param {Record<string, Step>} steps of its cells, by the names in the description
   * @param {OperatingPoint | null} point what decides the class; null: the most probable one
   */
  constructor(description, calibration, steps, point = null) {
    this.description = description;
    this.calibration = calibration;
    this.point = point;
    this.layers = description.num_layers;
    this.directions = description.bidirectional ? 2 : 1;
    this.hiddenSize = description.hidden_size;
    this.classes = description.num_classes;
    this.width = this.hiddenSize * this.directions;
    /** @type {Record<string, Weight>} */
    this.weights = {};
    for (const [name, { shape, data }] of Object.entries(description.weights)) {
      this.weights[name] = { shape, data: decode.floats(data) };
    }
    this.cells = description.cells.map((layer) => layer.map((cell) => new Cell(cell, steps)));
    this.readout = READOUTS[description.readout];
    this.front = new Front(description.front);
    this.stem = description.stem && new Stem(description.stem, this.weights);
  }

  /**
   * Return logits after the last step of `x`: time steps, each an array of scaled features; of a text its
   * tokens, see `Texts.tokens`.
   */
  logits(x) {
    return this.#logitsOf(this.#vectors(x));
  }

  #logitsOf(vectors) {
    const read = this.#read(vectors);
    if (this.directions === 2) return this.#readBothWays(read).logits;
    return this.#answer(read.reduce((state, vector) => this.#advance(state, vector), this.#start()));
  }

  /** Return what the layers read of vectors: frames, or the outputs of the stem. */
  #read(vectors) {
    const frames = this.front.frames(vectors);
    return this.stem ? this.stem.read(frames) : frames;
  }

  /** Whether a later step leaves what was made of the earlier ones as it is. */
  get #causal() {
    return this.directions === 1 && !this.front.scales && !this.stem;
  }

  /** Return the probability of each class after the last step of `x`, which is so much of the whole sequence. */
  probabilities(x, fraction = 1) {
    return this.calibrated(this.logits(x), fraction);
  }

  /** Return the probabilities that logits come to after a fraction of a sequence: by the temperature of the next mark. */
  calibrated(logits, fraction) {
    if (!this.calibration) return softmax(logits, 1);
    const { fractions, temperatures } = this.calibration;
    return softmax(logits, temperatures[fractions.findIndex((mark) => mark >= fraction - 1e-9)]);
  }

  /** Return the number of the class that is answered; null: "unsure". */
  decide(probabilities) {
    const first = largest(probabilities);
    if (!this.point) return first;
    const { positive, threshold, reject } = this.point;
    const answer = positive === null ? first : probabilities[positive] >= threshold ? positive : 1 - positive;
    return reject !== null && probabilities[answer] < reject ? null : answer;
  }

  /** Read `x` and record each step; see `Reading`. */
  read(x) {
    return this.#causal ? this.#watch(this.#vectors(x)) : this.#watchAgain(x);
  }

  /**
   * Yield, for each of `replacements` in `x`, how much the logit of the class `label` falls: if it is above 0, the
   * replaced part spoke for the class. A replacement is {step, value}: the new value of the step, or null to leave the
   * step out.
   */
  *occlude(x, replacements, label) {
    const before = this.logits(x)[label];
    const stepwise = this.#causal && this.front.size === 1;
    const states = [];
    if (stepwise) {
      states.push(this.#start()); // so that earlier steps are not read again
      for (const step of x) states.push(this.#advance(states.at(-1), this.#vector(step)));
    }
    for (const { step, value } of replacements) {
      const rest = [...(value === null ? [] : [value]), ...Array.prototype.slice.call(x, step + 1)];
      const logits =
        stepwise
          ? this.#answer(rest.reduce((state, v) => this.#advance(state, this.#vector(v)), states[step]))
          : this.logits([...Array.prototype.slice.call(x, 0, step), ...rest]);
      yield before - logits[label];
    }
  }

  /**
   * Yield, for each of `windows` of `x`, how much the logit of the class `label` falls if what the model reads there is
   * 0: the mean in training and, where a series is scaled by itself, its own. Its scale stays what it is.
   */
  *blank(x, windows, label) {
    const vectors = this.#vectors(x);
    const before = this.#logitsOf(vectors)[label];
    const nothing = new Float64Array(vectors[0]?.length ?? 0);
    for (const [from, to] of windows) {
      yield before - this.#logitsOf(vectors.map((vector, t) => (t >= from && t < to ? nothing : vector)))[label];
    }
  }

  /** Read step by step. Before a frame is full, the answer is that of a sequence that ends there. */
  #watch(vectors) {
    const { front } = this;
    const reading = new Reading(this, vectors.length);
    const frames = front.frames(vectors);
    let state = this.#start();
    let coming = null; // the state after the frame that is not full yet
    let full = 0;
    for (let step = 0; step < vectors.length; step++) {
      for (; full < front.full(step + 1); full++) {
        state = coming ?? this.#advance(state, frames[full]);
        coming = null;
      }
      const ended = front.count(step + 1) === full;
      if (!ended) coming ??= this.#advance(state, frames[full]);
      (coming ?? state).cells.forEach((cell, layer) => reading.note(layer, 0, step, cell));
      reading.answer(
        step,
        this.#answer(ended ? state : this.#advance(state, front.frame(vectors, full, step + 1))),
      );
    }
    return reading;
  }

  /** Read everything again for each answer. */
  #watchAgain(x) {
    const vectors = Array.from(x, (step) => this.#vector(step));
    const time = vectors.length;
    const reading = new Reading(this, time);
    reading.coarse = time > 2 * Model.MARKS;
    const asked = new Set([0, time - 1]);
    for (let mark = 1; mark <= Model.MARKS; mark++) asked.add(Math.ceil((time * mark) / Model.MARKS) - 1);
    for (let step = 0; step < time; step++) {
      const ask = !reading.coarse || asked.has(step);
      reading.answer(step, ask ? this.#logitsOf(this.front.scaled(vectors.slice(0, step + 1))) : reading.logits[step - 1]);
    }
    const states = this.#states(this.#read(this.front.scaled(vectors)));
    states.forEach((layer, number) =>
      layer.forEach((cells, direction) => {
        for (let step = 0; step < time; step++) {
          reading.note(number, direction, step, cells[(this.stem ?? this.front).count(step + 1) - 1]);
        }
      }),
    );
    return reading;
  }

  /** Return each cell's states after each vector, [layer][direction][step]. */
  #states(vectors) {
    if (this.directions === 2) return this.#readBothWays(vectors).states;
    const states = this.cells.map(() => [[]]);
    let state = this.#start();
    for (const vector of vectors) {
      state = this.#advance(state, vector);
      state.cells.forEach((cell, layer) => states[layer][0].push(cell));
    }
    return states;
  }

  /** The state before the first step of a model that reads forwards. */
  #start() {
    return { cells: this.cells.map(([cell]) => cell.start()), held: this.readout.start(this.width) };
  }

  /** Return the state after one more step. */
  #advance(state, vector) {
    const cells = [];
    let seen = vector;
    let below = vector;
    this.cells.forEach(([cell], layer) => {
      const next = cell.step(seen, state.cells[layer]);
      below = this.#around(layer, next.hidden, below);
      seen = this.#normalised(layer, below);
      cells.push(next);
    });
    return { cells, held: this.readout.add(state.held, seen, this.weights) };
  }

  /**
   * Read a whole sequence forwards and backwards; return the logits and each cell's states, [layer][direction][step].
   */
  #readBothWays(vectors) {
    const states = [];
    let [seen, below] = [vectors, vectors];
    let ends = null;
    this.cells.forEach((pair, layer) => {
      const [forwards, backwards] = pair.map((cell, direction) => this.#scan(cell, seen, direction === 1));
      const last = (steps, cell, end) => (steps.length ? steps.at(end) : cell.start()).hidden;
      const own = joined(last(forwards, pair[0], -1), last(backwards, pair[1], 0));
      ends = this.#around(layer, own, ends);
      below = forwards.map((state, step) =>
        this.#around(layer, joined(state.hidden, backwards[step].hidden), below[step]),
      );
      seen = below.map((vector) => this.#normalised(layer, vector));
      states.push([forwards, backwards]);
    });
    // With readout "last", each direction is read at its own end; otherwise at every step.
    const outputs = this.description.readout === "last" ? [this.#normalised(this.layers - 1, ends)] : seen;
    const held = outputs.reduce((sum, v) => this.readout.add(sum, v, this.weights), this.readout.start(this.width));
    return { logits: this.#answer({ held }), states };
  }

  /** Return the states of one cell after each step, by step. */
  #scan(cell, vectors, reverse) {
    const states = new Array(vectors.length);
    let state = cell.start();
    for (let count = 0; count < vectors.length; count++) {
      const step = reverse ? vectors.length - 1 - count : count;
      states[step] = state = cell.step(vectors[step], state);
    }
    return states;
  }

  /** Add the residual connection, in models that have it. */
  #around(layer, outputs, below) {
    return layer && this.description.residual ? outputs.map((v, unit) => v + below[unit]) : outputs;
  }

  /** Normalise a layer's outputs, in models with layer norm. */
  #normalised(layer, vector) {
    if (!this.description.layer_norm) return vector;
    return normalised(this.weights[`norms.${layer}.weight`], this.weights[`norms.${layer}.bias`], vector);
  }

  /** Return the logits after reading. An empty sequence reads out as the initial state, or as zeros. */
  #answer({ held }) {
    let vector = this.readout.result(held, this.width);
    if (held === null && this.description.readout === "last") vector = this.#normalised(this.layers - 1, vector);
    return linear(this.weights["head.weight"], this.weights["head.bias"], vector);
  }

  #vectors(x) {
    return this.front.scaled(Array.from(x, (step) => this.#vector(step)));
  }

  /** Return the learned vector of a token, or the features of a step. */
  #vector(step) {
    if (!this.description.vocabulary_size) return step;
    if (!this.description.ngram_buckets) return this.#row("embedding.weight", step);
    const [token, ...ngrams] = step;
    const vector = Float64Array.from(this.#row("embedding.weight", token));
    for (const number of ngrams) {
      this.#row("ngrams.weight", number).forEach((v, feature) => (vector[feature] += v / ngrams.length));
    }
    return vector;
  }

  /** Return a row of a matrix of weights. */
  #row(name, number) {
    const { shape, data } = this.weights[name];
    return data.subarray(number * shape[1], (number + 1) * shape[1]);
  }
}

/** The states and answers of a model at each step of a sequence. */
export class Reading {
  /**
   * @param {Model} model
   * @param {number} time
   */
  constructor(model, time) {
    this.model = model;
    this.time = time;
    this.units = model.hiddenSize;
    /** Whether it was asked at some steps alone, so that what `decided` says of the others is a guess. */
    this.coarse = false;
    /**
     * The probabilities after each step, as if the sequence ended there.
     *
     * @type {Float64Array[]}
     */
    this.logits = new Array(time);
    /** @type {Float64Array[]} */
    this.probabilities = new Array(time);
    /** [layer][direction]: {hidden, gates: {name: …}}, each a Float32Array of time × width. */
    this.states = model.cells.map((layer) =>
      layer.map((cell) => ({
        hidden: new Float32Array(time * this.units),
        gates: Object.fromEntries(cell.gates.map(({ name, width }) => [name, new Float32Array(time * width)])),
      })),
    );
  }

  /**
   * Keep the state of a cell after a step.
   *
   * @param {number} layer
   * @param {number} direction
   * @param {number} step
   * @param {State} state
   */
  note(layer, direction, step, { hidden, gates }) {
    const kept = this.states[layer][direction];
    kept.hidden.set(hidden, step * this.units);
    for (const [name, values] of Object.entries(gates)) kept.gates[name].set(values, step * values.length);
  }

  /** Keep the answer after a step. */
  answer(step, logits) {
    this.logits[step] = logits;
    this.probabilities[step] = this.model.calibrated(logits, (step + 1) / this.time);
  }

  /** The most probable class at the end. */
  get predicted() {
    return largest(this.logits[this.time - 1]);
  }

  /** The class that is answered at the end; null: "unsure". */
  get final() {
    return this.#answered(this.time - 1);
  }

  /** Logits differ where probabilities may both be rounded to 1. */
  #answered(step) {
    return this.model.point ? this.model.decide(this.probabilities[step]) : largest(this.logits[step]);
  }

  /** The step, from 1, since which the answer has been the final one. */
  get decided() {
    let step = this.time;
    while (step > 1 && this.#answered(step - 2) === this.final) step--;
    return step;
  }
}
