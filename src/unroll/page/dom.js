/* What the views share: elements, numbers in words, and whether animation is allowed. */

/**
 * Return a new element; of its attributes, functions are listeners: element("button", { click: run }, "Run").
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  return furnished(document.createElement(tag), attributes, children);
}

/**
 * Return a new element of a drawing; see `element`.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string)} children
 */
export function drawn(tag, attributes = {}, ...children) {
  return furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/**
 * @template {Element} Made
 * @param {Made} made
 */
function furnished(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/**
 * The page's elements that are more than any HTMLElement.
 *
 * @typedef {object} Controls
 * @property {HTMLButtonElement} play
 * @property {HTMLButtonElement} back
 * @property {HTMLButtonElement} forth
 * @property {HTMLButtonElement} mattered
 * @property {HTMLInputElement} scrub
 * @property {HTMLInputElement} file
 * @property {HTMLSelectElement} speed
 * @property {HTMLSelectElement} target
 * @property {HTMLSelectElement} layer
 * @property {HTMLSelectElement} part
 */

/**
 * Return the page's element of that name.
 *
 * @template {string} Id
 * @param {Id} id
 * @returns {Id extends keyof Controls ? Controls[Id] : HTMLElement}
 */
export function byId(id) {
  return /** @type {any} */ (document.getElementById(id));
}

/** Return a fraction as "84 %"; near 0 and 1 it is not rounded to the limit. */
export function percent(fraction) {
  if (fraction > 0 && fraction < 0.005) return "<\u202f1\u202f%";
  if (fraction < 1 && fraction >= 0.995) return ">\u202f99\u202f%";
  return `${Math.round(100 * fraction)}\u202f%`;
}

/** Return a text cut to at most `most` characters. */
export function shortened(text, most) {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, Math.max(1, most - 1)).join("").trimEnd()}…` : text;
}

/** Return a number with a real minus sign. */
export const signed = (number, digits = 2) => number.toFixed(digits).replace("-", "\u2212");

export const grouped = (number) => number.toLocaleString("en-GB");

export const STILL = matchMedia("(prefers-reduced-motion: reduce)");
export const DARK = matchMedia("(prefers-color-scheme: dark)");

/**
 * Match a canvas to the resolution of the screen; return its context, in CSS pixels.
 *
 * @param {HTMLCanvasElement} canvas
 */
export function sharp(canvas, width, height) {
  const dots = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * dots));
  canvas.height = Math.max(1, Math.round(height * dots));
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / Math.max(1, width), 0, 0, canvas.height / Math.max(1, height), 0, 0);
  return context;
}
