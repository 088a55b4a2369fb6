import { resize } from "./resize.js";

/** @import { ImageFormat, Preparation, Scaling } from "../description.js" */
/** @import { Picture } from "./resize.js" */

/*
 * Prepare a picture like the training images: the same steps, with the same numbers, as unroll's
 * data/formats/image_file.py. The input is a canvas's RGBA pixels; the result height × width × channels numbers from 0
 * to 255.
 */
export const Images = {
  LARGE: 1000, // pixels; longer pictures are first reduced to 1 to 2 times as much
  FAINT: 16, // of 255: with less contrast, a picture is blank
  ENLARGED: 0.05, // of the mean contrast: largest error for which a picture counts as an enlargement of a small one
  INK: 0.1, // of the strongest contrast to the background; anything weaker is noise
  BLANK: "the picture shows nothing: all its pixels have about the same colour",

  /**
   * Return {pixels: Uint8Array, steps: what was done, in words}.
   *
   * Without `form.framing` the picture is resized as a whole. With it, one of the model's own size, or an enlargement
   * of such, is taken as it is; any other is cropped to its ink, scaled and centred as the training images were; either
   * in any polarity.
   *
   * @param {ImageData} picture
   * @param {ImageFormat} form
   */
  prepare(picture, form) {
    const steps = [];
    if (!form.framing) {
      const colours = Images.onPaper(picture, false);
      const fits = picture.width === form.width && picture.height === form.height;
      const sized = (form.channels === 3 ? colours : [Images.grey(colours)]).map((channel) =>
        fits ? channel : resize.to(channel, form.width, form.height, "bicubic", true),
      );
      steps.push(fits ? "taken as it is" : `resized to ${form.width}×${form.height}`);
      if (form.channels === 3 && isGrey(colours)) steps.push("grey, repeated in three channels");
      const at = (_, n) => sized[n % form.channels].data[Math.floor(n / form.channels)];
      return { pixels: Uint8Array.from({ length: form.width * form.height * form.channels }, at), steps };
    }
    const { framing } = form;
    let channels = Images.onPaper(picture, true);
    const factor = Math.floor(Math.max(picture.width, picture.height) / Images.LARGE);
    if (factor > 1) {
      steps.push(`reduced from ${picture.width}×${picture.height}`);
      channels = channels.map((channel) => resize.reduce(channel, factor));
    }
    const own = Images.ownSize(Images.grey(channels), form, steps);
    if (own) {
      const [low, high] = range(own.data);
      if (high - low < Images.FAINT) throw new Error(Images.BLANK);
      const inverted = Math.abs(median(border(own)) - framing.border) > 127.5;
      if (inverted) steps.push("turned into its negative");
      const pixels = inverted ? own.data.map((v) => 255 - v) : own.data;
      return { pixels: toBytes(pixels), steps: steps.length ? steps : ["taken as it is"] };
    }
    const grey = Images.frame(Images.ink(channels, framing, steps), form, steps);
    return { pixels: toBytes(framing.border < 127.5 ? grey : grey.map((v) => 255 - v)), steps };
  },

  /** Return a picture's three channels without transparency; where it is seen `alone`, bright ink gets black paper. */
  onPaper({ width, height, data }, alone) {
    let [ink, weight] = [0, 0];
    for (let at = 0; at < data.length; at += 4) {
      ink += (data[at] + data[at + 1] + data[at + 2]) * data[at + 3];
      weight += data[at + 3];
    }
    const paper = alone && ink / (3 * (weight || 1)) > 127.5 ? 0 : 255;
    return [0, 1, 2].map((channel) => {
      const made = new Float32Array(width * height);
      for (let n = 0, at = 0; n < made.length; n++, at += 4) {
        const cover = data[at + 3] / 255;
        made[n] = Math.round(data[at + channel] * cover + paper * (1 - cover));
      }
      return { width, height, data: made };
    });
  },

  /**
   * Return brightness, 0 to 255, as ITU-R 601-2 weighs the colours.
   *
   * @param {Picture[]} channels
   */
  grey([red, green, blue]) {
    const weighed = (_, n) => (red.data[n] * 19595 + green.data[n] * 38470 + blue.data[n] * 7471 + 32768) >> 16;
    return { ...red, data: Float32Array.from(red.data, weighed) };
  },

  /**
   * Return a picture in the model's size if it has it, or is a bicubic enlargement of one that has; else null.
   *
   * @param {Picture} grey
   * @param {ImageFormat} form
   * @returns {Picture | null}
   */
  ownSize(grey, { width, height }, steps) {
    if (grey.width === width && grey.height === height) return grey;
    if (grey.width * height !== grey.height * width || grey.width < 2 * width) return null;
    // Enlarging keeps the values at the centres of the pixels; between two samples the mean of both is the centre.
    const rotated = (image) => ({ ...image, data: image.data.slice().reverse() });
    const before = resize.nearest(grey, width, height);
    const after = rotated(resize.nearest(rotated(grey), width, height));
    const small = { width, height, data: before.data.map((v, n) => (v + after.data[n]) / 2) };
    const [low, high] = range(grey.data);
    if (high - low < Images.FAINT) return null;
    const background = median(border(grey));
    const contrast = mean(grey.data.map((v) => Math.abs(v - background)));
    const again = resize.to(small, grey.width, grey.height, "bicubic");
    const off = mean(again.data.map((v, n) => Math.abs(Math.min(255, Math.max(0, v)) - grey.data[n])));
    if (off > Images.ENLARGED * contrast) return null;
    steps.push(`recognised as ${width}×${height} enlarged to ${grey.width}×${grey.height}`);
    return small;
  },

  /**
   * Return how far each pixel is from the background, 0 to 255, cropped to what is not noise.
   *
   * @param {Picture[]} channels
   * @param {ImageFormat["framing"]} framing
   */
  ink(channels, framing, steps) {
    const { width, height } = channels[0];
    const background = channels.map((channel) => median(border(channel)));
    const contrast = new Float32Array(width * height);
    channels.forEach(({ data }, channel) => {
      data.forEach((v, n) => (contrast[n] = Math.max(contrast[n], Math.abs(v - background[channel]))));
    });
    const peak = range(contrast)[1];
    if (peak < Images.FAINT) throw new Error(Images.BLANK);
    let [left, right, top, bottom, sum, count] = [width, -1, height, -1, 0, 0];
    contrast.forEach((v, n) => {
      if (v < Math.fround(Images.INK * peak)) contrast[n] = 0;
      if (!contrast[n]) return;
      const [x, y] = [n % width, Math.floor(n / width)];
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      sum += channels[0].data[n] + channels[1].data[n] + channels[2].data[n];
      count += 3;
    });
    const dark = sum / count < mean(background);
    if (dark === framing.border < 127.5) steps.push("turned into its negative");
    const [w, h] = [right - left + 1, bottom - top + 1];
    const at = (_, n) => contrast[(top + Math.floor(n / w)) * width + left + (n % w)];
    steps.push(`cropped from ${width}×${height} to its ink ${w}×${h}`);
    return { width: w, height: h, data: new Float32Array(w * h).map(at) };
  },

  /**
   * Return height × width numbers: `ink` scaled into the box and centred.
   *
   * @param {Picture} ink
   * @param {ImageFormat} form
   */
  frame(ink, { width, height, framing }, steps) {
    const scale = framing.box / Math.max(ink.width, ink.height);
    const [w, h] = [ink.width, ink.height].map((side) => Math.max(1, evenRound(side * scale)));
    const small = resize.to(ink, w, h, scale < 1 ? "box" : "bicubic");
    const gain = Math.fround(255 / range(small.data)[1]); // in 32 bits, as NumPy does it
    const values = small.data.map((v) => Math.max(0, v) * gain);
    const centre = framing.centre === "mass" ? centreOfMass({ width: w, height: h, data: values }) : [w / 2, h / 2];
    const left = Math.min(Math.max(0, evenRound(width / 2 - centre[0])), width - w);
    const top = Math.min(Math.max(0, evenRound(height / 2 - centre[1])), height - h);
    const framed = new Float32Array(width * height);
    values.forEach((v, n) => (framed[(top + Math.floor(n / w)) * width + left + (n % w)] = v));
    steps.push(`scaled to ${w}×${h}`, framing.centre === "mass" ? "centred by its mass" : "centred");
    return framed;
  },

  /**
   * Return the numbers of a pixel, one for each channel.
   *
   * @param {Uint8Array} pixels
   * @param {number} pixel
   * @param {ImageFormat} form
   */
  numbersOf(pixels, pixel, { channels }) {
    return Array.from(pixels.subarray(pixel * channels, (pixel + 1) * channels));
  },

  /**
   * Return where a pixel is read: the time step, from 0, and the feature in it, of a colour the first.
   *
   * @param {number} row
   * @param {number} column
   * @param {ImageFormat} form
   */
  stepOf(row, column, { width, read, order, channels }) {
    if (read === "rows") return { step: row, feature: column * channels };
    if (read === "columns") return { step: column, feature: row * channels };
    const pixel = row * width + column;
    return { step: read === "permuted" ? inverse(order)[pixel] : pixel, feature: 0 };
  },

  /**
   * Return the time steps, arrays of scaled features, that the model reads of height × width × channels numbers.
   *
   * @param {ArrayLike<number>} pixels
   * @param {Preparation} preparation
   */
  sequence(pixels, { image, scaling }) {
    const { width, height, read, order, channels } = image;
    const pixelAt = {
      rows: (step, place) => step * width + place,
      columns: (step, place) => place * width + step,
      pixels: (step) => step,
      permuted: (step) => order[step],
    }[read];
    const [time, places] = { rows: [height, width], columns: [width, height] }[read] ?? [width * height, 1];
    const at = (step, feature) => pixelAt(step, Math.floor(feature / channels)) * channels + (feature % channels);
    return Array.from({ length: time }, (_, step) =>
      scaled(
        Float32Array.from({ length: places * channels }, (_, feature) => pixels[at(step, feature)]),
        scaling,
      ),
    );
  },
};

const inverses = new WeakMap();

/** Return the inverse of the permutation `order`, cached. */
function inverse(order) {
  if (!inverses.has(order)) {
    const places = new Array(order.length);
    order.forEach((number, place) => (places[number] = place));
    inverses.set(order, places);
  }
  return inverses.get(order);
}

/**
 * Return features as the model reads them: (x - mean) / std.
 *
 * @param {Float32Array} features
 * @param {Scaling} scaling
 */
export function scaled(features, { mean, std }) {
  const of = (value, feature) => (Array.isArray(value) ? value[feature] : value);
  return features.map((v, feature) => (v - of(mean, feature)) / of(std, feature));
}

/**
 * Tell whether all channels are the same.
 *
 * @param {Picture[]} channels
 */
const isGrey = ([red, green, blue]) => red.data.every((v, n) => v === green.data[n] && v === blue.data[n]);
const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
const toBytes = (numbers) => Uint8Array.from(numbers, (v) => Math.min(255, Math.max(0, evenRound(v))));

/** Round to the nearest whole number, halves to the even one, as Python does. */
function evenRound(v) {
  const low = Math.floor(v);
  return v - low === 0.5 ? low + (low % 2) : Math.round(v);
}

/** Return the least and the greatest of some numbers. */
function range(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of numbers) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}

export function median(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  const half = sorted.length / 2;
  return (sorted[Math.floor(half - 0.5)] + sorted[Math.floor(half)]) / 2;
}

/** Return the outermost pixels. */
export function border({ width, height, data }) {
  const sides = Array.from({ length: Math.max(0, height - 2) }, (_, row) => [
    data[(row + 1) * width],
    data[(row + 2) * width - 1],
  ]);
  return [...data.subarray(0, width), ...data.subarray((height - 1) * width), ...sides.flat()];
}

/**
 * Return the centre of mass, [x, y], in pixels.
 *
 * @param {Picture} picture
 */
function centreOfMass({ width, data }) {
  let [x, y, whole] = [0, 0, 0];
  data.forEach((v, n) => {
    x += v * (n % width);
    y += v * Math.floor(n / width);
    whole += v;
  });
  return [x / whole, y / whole];
}
