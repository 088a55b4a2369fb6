/* The colours of the style sheet, for canvases. */
export const Palette = {
  /** Return a colour of the style sheet, such as "for", as [red, green, blue]. */
  colour(name) {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  },

  /** Return a function from -1…1 to a colour: against … the panel's own … for. */
  diverging() {
    const [low, middle, high] = ["against", "panel", "for"].map(Palette.colour);
    return (v) => blend(middle, v < 0 ? low : high, Math.min(1, Math.abs(v)) ** 0.8);
  },

  /** Return a function from 0…1 to a colour, from the panel's own. */
  sequential() {
    const [low, high] = ["panel", "for"].map(Palette.colour);
    return (v) => blend(low, high, Math.min(1, Math.max(0, v)));
  },
};

/** Return the mixture of two colours, `share` of it the second. */
export const blend = (from, to, share) => from.map((v, channel) => v + share * (to[channel] - v));
