import { filled } from "./vectors.js";

/*
 * Resize pictures of one channel exactly as the library Pillow does, so that this page and `unroll predict` see the
 * same.
 */

/**
 * A picture, row by row.
 *
 * @typedef {{ width: number, height: number, data: Float32Array | Uint8ClampedArray }} Picture
 */

export const resize = {
  /** The filters: the weight of a pixel by its distance from the centre, in pixels, and the filter's radius. */
  FILTERS: {
    box: { reach: 0.5, weigh: (d) => (d > -0.5 && d <= 0.5 ? 1 : 0) },
    bicubic: { reach: 2, weigh: (d) => cubic(Math.abs(d), -0.5) },
  },

  /**
   * Return `picture` in another size. With `bytes` every pass is rounded to 0 … 255.
   *
   * @param {Picture} picture
   * @param {number} width
   * @param {number} height
   * @param {"box" | "bicubic"} filter
   * @returns {Picture}
   */
  to(picture, width, height, filter, bytes = false) {
    const across = picture.width === width ? picture : turned(resize.rows(turned(picture), width, filter, bytes));
    return across.height === height ? across : resize.rows(across, height, filter, bytes);
  },

  /**
   * Return `picture` in another size, its pixels as they are.
   *
   * @param {Picture} picture
   */
  nearest(picture, width, height) {
    const data = new Float32Array(width * height);
    const [stepX, stepY] = [picture.width / width, picture.height / height];
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor((y + 0.5) * stepY) * picture.width;
      for (let x = 0; x < width; x++) data[at++] = picture.data[row + Math.floor((x + 0.5) * stepX)];
    }
    return { width, height, data };
  },

  /** Return `picture` resized to `height` rows, each a weighted mean of rows. */
  rows({ width, height, data }, wanted, filter, bytes) {
    const { reach, weigh } = resize.FILTERS[filter];
    const scale = height / wanted;
    const wide = Math.max(scale, 1); // when shrinking, all pixels that merge count
    const made = bytes ? new Uint8ClampedArray(width * wanted) : new Float32Array(width * wanted);
    const sums = new Float64Array(width);
    for (let y = 0; y < wanted; y++) {
      const middle = (y + 0.5) * scale;
      const from = Math.max(0, Math.trunc(middle - reach * wide + 0.5));
      const to = Math.min(height, Math.trunc(middle + reach * wide + 0.5));
      const weights = filled(to - from, (n) => weigh((n + from - middle + 0.5) * (1 / wide)));
      const whole = weights.reduce((a, b) => a + b, 0);
      sums.fill(0);
      weights.forEach((weight, n) => {
        const row = (from + n) * width;
        for (let x = 0; x < width; x++) sums[x] += (weight / whole) * data[row + x];
      });
      for (let x = 0; x < width; x++) made[y * width + x] = bytes ? Math.floor(sums[x] + 0.5) : sums[x];
    }
    return { width, height: wanted, data: made };
  },

  /**
   * Return `picture` reduced by a whole factor: each pixel the mean of a square.
   *
   * @param {Picture} picture
   */
  reduce({ width, height, data }, factor) {
    const [w, h] = [Math.ceil(width / factor), Math.ceil(height / factor)];
    const made = new Float32Array(w * h);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        let [sum, count] = [0, 0];
        for (let b = y * factor; b < Math.min(height, (y + 1) * factor); b++) {
          for (let a = x * factor; a < Math.min(width, (x + 1) * factor); a++, count++) sum += data[b * width + a];
        }
        made[y * w + x] = Math.floor(sum / count + 0.5);
      }
    }
    return { width: w, height: h, data: made };
  },
};

/** Return `picture` with rows and columns swapped. */
function turned({ width, height, data }) {
  const made = new data.constructor(data.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) made[x * height + y] = data[y * width + x];
  return { width: height, height: width, data: made };
}

function cubic(d, a) {
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}
