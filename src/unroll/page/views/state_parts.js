/** @import { ModelDescription } from "../description.js" */

/**
 * Something that a cell makes at each step; `share`: numbers from 0 to 1, otherwise around 0.
 *
 * @typedef {{ key: string, name: string, meaning: string, width: number, share: boolean }} Part
 */

/** What the heat map can show: the hidden state, and the gates of the model's cells. */
export class Parts {
  /** Of unroll's cells: which gates are shown, their names for people, what they mean. */
  static KNOWN = {
    rnn: {},
    gru: {
      r: ["reset gate", "0: the candidate ignores the old values."],
      z: ["update gate", "1: the unit keeps its old value, 0: it takes the candidate."],
      n: ["candidate", "The proposed new value."],
    },
    lstm: {
      i: ["input gate", "1: lets the candidate into the memory."],
      f: ["forget gate", "1: keeps the memory, 0: forgets it."],
      g: ["candidate g", "The proposed new value."],
      o: ["output gate", "1: outputs the memory."],
      c: ["memory c", "The LSTM's memory; the hidden state is its output."],
    },
    indrnn: {},
    mingru: {
      a: ["keep gate", "1: the unit keeps its old value, 0: it takes the candidate."],
      candidate: ["candidate", "The proposed new value."],
    },
    minlstm: {
      a: ["keep gate", "1: the unit keeps its old value, 0: it takes the candidate."],
      candidate: ["candidate", "The proposed new value."],
    },
    lru: {
      "h1.1": ["real part", "A unit's memory is a rotating complex number: its real part."],
      "h1.2": ["imaginary part", "A unit's memory is a rotating complex number: its imaginary part."],
    },
  };

  /**
   * The parts that all cells of a model have.
   *
   * @param {ModelDescription} model
   * @returns {Part[]}
   */
  static of(model) {
    const cells = model.cells.flat();
    const known = Parts.KNOWN[model.cell];
    const common = cells[0].gates.filter(({ name }) => cells.every((cell) => cell.gates.some((gate) => gate.name === name)));
    const shown = known ? Object.keys(known).map((key) => common.find(({ name }) => name === key)) : common;
    const hidden = { key: "hidden", name: "hidden state", meaning: "", width: model.hidden_size, share: false };
    const gates = shown.map(({ name: key, width, share }) => {
      const [name, meaning] = known?.[key] ?? [key, ""];
      return { key, name, meaning, width, share };
    });
    return [hidden, ...gates];
  }
}
