/*
 * How a picture in a file is to be turned to stand upright. Browsers turn JPEG and PNG files themselves, but not all of
 * them WebP files: these are decoded as they are stored, and turned here.
 */
export const Orientation = {
  TAG: 0x0112, // of EXIF data

  /**
   * Return the bytes of a picture without the orientation that a WebP file has, and that orientation, 1 to 8 as EXIF
   * numbers them; of any other file its bytes and 1.
   *
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  takenFrom(bytes) {
    const at = Orientation.place(bytes);
    if (at === null) return { bytes, orientation: 1 };
    const plain = bytes.slice();
    plain[at.low] = 1;
    plain[at.high] = 0;
    const number = 256 * bytes[at.high] + bytes[at.low];
    return { bytes: plain, orientation: number >= 1 && number <= 8 ? number : 1 };
  },

  /** Return where in a WebP file the two bytes of its orientation stand; null where there is none. */
  place(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
    if (text(0, 4) !== "RIFF" || text(8, 4) !== "WEBP") return null;
    for (let at = 12; at + 8 <= bytes.length; ) {
      const size = view.getUint32(at + 4, true);
      if (text(at, 4) !== "EXIF") {
        at += 8 + size + (size % 2);
        continue;
      }
      const start = at + 8 + (text(at + 8, 6) === "Exif\0\0" ? 6 : 0);
      const little = text(start, 2) === "II";
      try {
        const entries = start + view.getUint32(start + 4, little);
        for (let n = 0; n < view.getUint16(entries, little); n++) {
          const value = entries + 2 + 12 * n + 8;
          if (view.getUint16(value - 8, little) !== Orientation.TAG) continue;
          return little ? { low: value, high: value + 1 } : { low: value + 1, high: value };
        }
      } catch (error) {
        if (!(error instanceof RangeError)) throw error; // the data is damaged, which does not touch the pixels
      }
      return null;
    }
    return null;
  },

  /** Return the width and height of a picture that is turned. */
  size(orientation, { width, height }) {
    return orientation < 5 ? { width, height } : { width: height, height: width };
  },

  /**
   * Return the numbers of the canvas's `setTransform` that turn a picture.
   *
   * @returns {[number, number, number, number, number, number]}
   */
  transform(orientation, { width: w, height: h }) {
    return /** @type {any} */ ([
      [1, 0, 0, 1, 0, 0],
      [-1, 0, 0, 1, w, 0],
      [-1, 0, 0, -1, w, h],
      [1, 0, 0, -1, 0, h],
      [0, 1, 1, 0, 0, 0],
      [0, 1, -1, 0, h, 0],
      [0, -1, -1, 0, h, w],
      [0, -1, 1, 0, 0, w],
    ])[orientation - 1];
  },
};
