import { grouped } from "./dom.js";

/**
 * Take all values of a generator, in slices between which the page can react; `take(value, number)` receives each.
 * Return false if `signal` was aborted first.
 *
 * @param {Iterable<number>} generator
 * @param {AbortSignal} signal
 * @param {(value: number, number: number) => void} take
 */
export async function inSlices(generator, signal, take) {
  const SLICE = 12; // ms
  let until = performance.now() + SLICE;
  let number = 0;
  for (const value of generator) {
    if (signal.aborted) return false;
    take(value, number++);
    if (performance.now() < until) continue;
    await new Promise((resume) => setTimeout(resume));
    until = performance.now() + SLICE;
  }
  return !signal.aborted;
}

/** Return the error of a text, called `name`, of more than `most` characters. */
export function tooLong(name, most) {
  return new Error(`${name} may have at most ${grouped(most)} characters, got more`);
}

/**
 * Return the text of a file of at most `most` characters; throws Error with one line: `expected` is what it should be.
 *
 * @param {File} file
 * @param {number} most
 * @param {string} expected
 */
export async function textOf(file, most, expected) {
  const noText = `${file.name}: expected ${expected} in UTF-8`;
  if (file.size > 4 * most) throw tooLong(file.name, most);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(noText);
  }
  if (text.includes("\0")) throw new Error(noText);
  if (text.length > most) throw tooLong(file.name, most);
  return text;
}
