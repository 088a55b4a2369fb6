/** The description of a run for its page, written by unroll.export.description. */
export interface Description {
  unroll: string;
  title: string;
  kind: "images" | "texts" | "series";
  classes: string[];
  model: ModelDescription;
  calibration: Calibration | null;
  operating_point: OperatingPoint | null;
  preparation: Preparation;
  samples: Sample[];
  typical: Typical | null;
  facts: Facts;
}

export interface ModelDescription {
  cell: string;
  nonlinearity: string;
  hidden_size: number;
  num_layers: number;
  bidirectional: boolean;
  residual: boolean;
  layer_norm: boolean;
  readout: string;
  input_size: number;
  num_classes: number;
  vocabulary_size: number | null;
  ngram_buckets: number;
  front: FrontDescription;
  stem: StemDescription | null;
  /** [layer][direction] */
  cells: CellDescription[][];
  weights: Record<string, { shape: number[]; data: string }>;
}

/** A cell; its numbers are 32-bit floats, in base64. */
export interface CellDescription {
  /** The name of its step in STEPS. */
  step: string;
  weights: string[];
  /** The parts of the state before the first step. */
  start: string[];
  gates: GateDescription[];
}

/** What its step makes beside the hidden state; `share`: numbers from 0 to 1. */
export interface GateDescription {
  name: string;
  width: number;
  share: boolean;
}

/** A time step: from x and the parts of the state to the new parts, and the gates by name. */
export type Step = (
  x: Float64Array,
  state: Float64Array[],
  weights: Float32Array[],
) => { state: Float64Array[]; gates: Record<string, Float64Array> };

declare global {
  /** The steps of the page's cells, which unroll.compiler.javascript writes into its script. */
  const STEPS: Record<string, Step>;
}

/** How time steps become what the layers read; `mask_size` features, the last ones, say what is missing. */
export interface FrontDescription {
  features: number;
  scaling: "unit" | "training" | "series" | "both";
  mask_size: number;
  frame: number;
  hop: number;
  epsilon: number;
}

/** Two convolutions after the front, each with the steps that its window has, and from one to the next. */
export interface StemDescription {
  kernels: number[];
  strides: number[];
}

/** What logits are divided by after parts of a sequence: `fractions` of it, ascending to 1; fitted on `n` sequences. */
export interface Calibration {
  fractions: number[];
  temperatures: number[];
  n: number;
}

/** When the run answers which class; without one, the most probable. */
export interface OperatingPoint {
  /** The number of the one of two classes that is answered where its probability is at least `threshold`. */
  positive: number | null;
  threshold: number | null;
  /** Where the class to be answered has a lower probability than this, the answer is "unsure". */
  reject: number | null;
  /** How the threshold was chosen, in words. */
  chosen: string;
}

export interface Preparation {
  scaling: Scaling;
  /** Of each feature, taken away from the values before they are scaled; empty where nothing is. */
  offset: number[];
  image: ImageFormat | null;
  missing: { means: number[]; mask: boolean } | null;
  /** Which time steps, or tokens, are read of what is given; samples are such already. */
  time_steps: TimeSteps | null;
  features: string[];
  /** How a table that is dropped onto the page is read. */
  table: TableFormat;
  tokenizer: Tokenizer | null;
  /** How many n-grams of words are told apart; 0 where they are not read. */
  ngram_buckets: number;
}

export interface TimeSteps {
  time_step: number | null;
  every: number;
  max_length: number | null;
  /** Time steps of the windows that the data was cut into; of what is given the page reads the first one alone. */
  window: number | null;
}

/** What the run knows of the tables that it reads. */
export interface TableFormat {
  /** The column that says which series a row belongs to. */
  id: string | null;
  time: string | null;
  /** Whether each row is a series, and the names of its columns are those of time steps. */
  wide: boolean;
  /** Cells that mark a missing value, beside an empty one and its like. */
  missing_values: string[];
  decimal: "." | ",";
}

export interface Scaling {
  mean: number | number[];
  std: number | number[];
}

export interface ImageFormat {
  height: number;
  width: number;
  read: "rows" | "columns" | "pixels" | "permuted";
  order?: number[];
  framing: { border: number; box: number; centre: "mass" | "box" } | null;
  /** Numbers of each pixel: 1, its brightness, or 3, red, green and blue; then there is no framing. */
  channels: 1 | 3;
}

/** The JSON that the library tokenizers saves. */
export interface Tokenizer {
  added_tokens: { id: number; content: string }[];
  model: {
    type: string;
    vocab: Record<string, number>;
    unk_token: string;
    merges?: (string | string[])[];
  };
}

/** `x` of an image is base64, of a text the text, of a series [time][features]. */
export interface Sample {
  label: number;
  x: any;
}

/** The usual range of values and length of the series. */
export interface Typical {
  low: number[];
  high: number[];
  time: number;
}

export interface Facts {
  accuracy: number | null;
  n: number | null;
  /** Of whole recordings, each by the mean of its windows, where the sequences are windows. */
  recordings: { accuracy: number; n: number } | null;
  data: string;
  credit: string | null;
  parameters: number;
  early: number | null;
  checked?: number;
  difference?: number;
}
