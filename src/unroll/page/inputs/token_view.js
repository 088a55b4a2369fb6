import { element } from "../dom.js";

/** A text as the model reads it: words light up as they are read, and can be left out. */
export class Passage {
  /** `toggled(number)` is called to leave a word out or put it back. */
  constructor({ toggled }) {
    this.toggled = toggled;
    this.words = [];
    this.read = 0;
    this.cursor = 0;
    this.element = element("div", {
      class: "passage",
      role: "group",
      "aria-label": "The words as they are read. Arrow keys move; Enter leaves a word out or puts it back.",
      click: (event) => this.#click(event),
      keydown: (event) => this.#key(event),
    });
  }

  /** Show a text; `words` are {from, to, unknown}, with offsets in the text. */
  load(text, words) {
    const parts = [];
    let end = 0;
    this.words = words.map(({ from, to, unknown }, number) => {
      parts.push(text.slice(end, from));
      end = to;
      const joined = number > 0 && parts.at(-1) === ""; // to the previous word
      const name = text.slice(from, to);
      const label = unknown ? `${name}, not in the vocabulary` : null;
      const word = element("span", {
        class: `word${unknown ? " unknown" : ""}${joined ? " joined" : ""}`,
        role: "button",
        tabindex: number ? "-1" : "0",
        "aria-pressed": "false",
        "aria-label": label,
        title: label,
      }, name);
      word.dataset.number = number;
      parts.push(word);
      return word;
    });
    this.element.replaceChildren(...parts.filter((part) => part !== ""), text.slice(end));
    this.read = 0;
    this.cursor = 0;
    this.element.scrollTop = 0;
    this.element.classList.add("unread");
  }

  /** Mark the words that are left out, a set of indices. */
  mark(left) {
    this.words.forEach((word, number) => word.setAttribute("aria-pressed", String(left.has(number))));
  }

  /** Show the first `count` words as read, with the reading line after the last of them. */
  show(count) {
    const at = Math.min(count, this.words.length);
    this.words[this.read - 1]?.removeAttribute("aria-current");
    for (let number = Math.min(this.read, at); number < Math.max(this.read, at); number++) {
      this.words[number].classList.toggle("read", number < at);
    }
    this.read = at;
    this.element.classList.toggle("unread", at === 0);
    this.words[at - 1]?.setAttribute("aria-current", "step");
    this.#uncover(this.words[Math.max(0, at - 1)]);
  }

  /** Scroll a word into view, if the text is longer than its frame. */
  #uncover(word) {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    if (!word || scrollHeight <= clientHeight) return;
    if (word.offsetTop < scrollTop || word.offsetTop + 2 * word.offsetHeight > scrollTop + clientHeight) {
      this.element.scrollTop = word.offsetTop - clientHeight / 3;
    }
  }

  /** Show how much a word spoke for a class: `share` from -1 (against) to 1; `words` describe it. */
  weigh(number, share, words) {
    const word = this.words[number];
    const { style, classList } = word;
    classList.add("weighed");
    classList.toggle("opposed", share < 0);
    style.setProperty("--strength", `${Math.round(75 * Math.abs(share))}%`);
    style.setProperty("--thick", `${Math.abs(share) < 0.05 ? 0 : 1 + Math.round(3 * Math.abs(share))}px`);
    word.title = `${word.textContent}: ${words}`;
    word.setAttribute("aria-label", word.title);
  }

  /** Remove what `weigh` showed. */
  unweigh() {
    for (const word of this.words) {
      if (!word.classList.contains("weighed")) continue;
      word.classList.remove("weighed", "opposed");
      const label = word.classList.contains("unknown") ? `${word.textContent}, not in the vocabulary` : null;
      for (const name of ["title", "aria-label"]) {
        if (label) word.setAttribute(name, label);
        else word.removeAttribute(name);
      }
    }
  }

  #click({ target }) {
    const number = target.closest(".word")?.dataset.number;
    if (number === undefined) return;
    this.#moveTo(Number(number));
    this.toggled(Number(number));
  }

  #key(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in moves) this.#moveTo(this.cursor + moves[event.key]);
    else if (["Enter", " ", "Delete", "Backspace"].includes(event.key)) this.toggled(this.cursor);
    else return;
    event.preventDefault();
  }

  /** Make a single word reachable with the Tab key. */
  #moveTo(number) {
    if (this.words[this.cursor]) this.words[this.cursor].tabIndex = -1;
    this.cursor = Math.min(this.words.length - 1, Math.max(0, number));
    this.words[this.cursor].tabIndex = 0;
    this.words[this.cursor].focus();
  }
}
