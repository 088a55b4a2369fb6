"use strict";

/* What the views share: elements, words for numbers, and whether things may move. */

/** Return a new element; of its attributes, functions are listeners: element("button", { click: run }, "Run"). */
function element(tag, attributes = {}, ...children) {
  return furnished(document.createElement(tag), attributes, children);
}

/** Return a new element of a drawing; see `element`. */
function drawn(tag, attributes = {}, ...children) {
  return furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnished(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);

/** Return a fraction in words: "84 %", and near the ends no rounding that says too much. */
function percent(fraction) {
  if (fraction > 0 && fraction < 0.005) return "<\u202f1\u202f%";
  if (fraction < 1 && fraction >= 0.995) return ">\u202f99\u202f%";
  return `${Math.round(100 * fraction)}\u202f%`;
}

/** Return a text of at most `most` characters: a longer one is cut. */
function shortened(text, most) {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, Math.max(1, most - 1)).join("").trimEnd()}…` : text;
}

/** Return a number with a real minus sign. */
const signed = (number, digits = 2) => number.toFixed(digits).replace("-", "\u2212");

const grouped = (number) => number.toLocaleString("en-GB");

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** Give a canvas as many dots as the screen shows in its place; return its context, in CSS pixels. */
function sharp(canvas, width, height) {
  const dots = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * dots));
  canvas.height = Math.max(1, Math.round(height * dots));
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / Math.max(1, width), 0, 0, canvas.height / Math.max(1, height), 0, 0);
  return context;
}
