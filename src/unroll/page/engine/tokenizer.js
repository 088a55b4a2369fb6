import { Unicode } from "./unicode.js";

/*
 * Texts as numbers, as the library tokenizers does it with what unroll's data/tokens.py learns: Unicode's form NFKC,
 * lower case, words and what is neither letter nor digit, and of these either whole words or byte pair encoding. Each
 * character remembers the place in the text that it came from, so that a token can be shown where it stands.
 */
export const Texts = {
  // What Rust's regular expressions call \w and \s.
  WORDS:
    /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu,

  /**
   * Return the numbers of a text's tokens and their places in it, [first character, the one behind the last] as
   * JavaScript counts them. `tokenizer` is the JSON that the library saves.
   */
  tokens(text, tokenizer) {
    const model = Texts.model(tokenizer);
    const found = { numbers: [], places: [] };
    for (const { from, to, number } of Texts.parts(text, tokenizer.added_tokens)) {
      if (number !== null) {
        found.numbers.push(number);
        found.places.push([from, to]);
        continue;
      }
      const characters = Normal.lowercase(Normal.nfkc(Normal.characters(text, from, to), from), from);
      for (const word of Texts.words(characters)) {
        for (const [piece, first, behind] of model.pieces(word.map(({ character }) => character))) {
          found.numbers.push(piece);
          found.places.push([word[first].from, word[behind - 1].to]);
        }
      }
    }
    return found;
  },

  /** Return what a token is. */
  unit(tokenizer) {
    return tokenizer.model.type === "BPE" ? "piece" : "word";
  },

  /** Return the model of a tokenizer, made once. */
  model(tokenizer) {
    if (!Texts.models.has(tokenizer)) {
      const Kind = tokenizer.model.type === "BPE" ? BytePairs : WholeWords;
      Texts.models.set(tokenizer, new Kind(tokenizer.model));
    }
    return Texts.models.get(tokenizer);
  },

  models: new WeakMap(),

  /** Yield the parts of a text: special tokens, written out, with their number, and what stands between them. */
  *parts(text, special) {
    let from = 0;
    while (from < text.length) {
      let next = { from: text.length, to: text.length, number: null };
      for (const { content, id } of special) {
        const at = text.indexOf(content, from);
        if (at >= 0 && at < next.from) next = { from: at, to: at + content.length, number: id };
      }
      if (next.from > from) yield { from, to: next.from, number: null };
      if (next.number !== null) yield next;
      from = next.to;
    }
  },

  /** Yield the words among characters, as arrays of them. */
  *words(characters) {
    const symbol = (character) => "\ufffd".repeat(character.length); // as long as what it replaces
    const text = characters.map(({ character: c }) => (Unicode.isUnassigned(c) ? symbol(c) : c)).join("");
    let [unit, number] = [0, 0]; // a place in `text`, and which of the characters stands there
    for (const { index, 0: word } of text.matchAll(Texts.WORDS)) {
      while (unit < index) unit += characters[number++].character.length;
      const first = number;
      while (unit < index + word.length) unit += characters[number++].character.length;
      yield characters.slice(first, number);
    }
  },
};

/** A vocabulary of whole words. */
class WholeWords {
  constructor({ vocab, unk_token }) {
    this.vocabulary = new Map(Object.entries(vocab));
    this.unknown = this.vocabulary.get(unk_token);
  }

  /** Return the tokens of a word, given as its characters: [number, its first character, the one behind its last]. */
  pieces(characters) {
    return [[this.vocabulary.get(characters.join("")) ?? this.unknown, 0, characters.length]];
  }
}

/** Byte pair encoding: neighbours are joined in the order in which training found their pairs. */
class BytePairs {
  constructor({ vocab, merges, unk_token }) {
    this.vocabulary = new Map(Object.entries(vocab));
    this.unknown = unk_token;
    this.ranks = new Map(merges.map((pair, rank) => [typeof pair === "string" ? pair : pair.join(" "), rank]));
  }

  /** See `WholeWords`. */
  pieces(characters) {
    const parts = characters.map((character, at) => ({
      text: this.vocabulary.has(character) ? character : this.unknown,
      from: at,
      to: at + 1,
    }));
    const ranks = parts.map((_, at) => this.#rank(parts, at));
    for (;;) {
      const best = ranks.reduce((least, rank, at) => (rank < ranks[least] ? at : least), 0);
      if (!(ranks[best] < Infinity)) break;
      const [one, other] = parts.splice(best, 2);
      parts.splice(best, 0, { text: one.text + other.text, from: one.from, to: other.to });
      ranks.splice(best, 1);
      for (const at of [best - 1, best]) if (at >= 0) ranks[at] = this.#rank(parts, at);
    }
    return parts.map(({ text, from, to }) => [this.vocabulary.get(text), from, to]);
  }

  /** Return when a part is joined with the one after it: never is Infinity. */
  #rank(parts, at) {
    return at + 1 < parts.length ? (this.ranks.get(`${parts[at].text} ${parts[at + 1].text}`) ?? Infinity) : Infinity;
  }
}

/**
 * Unicode's form NFKC and lower case, which the browser has, and where each character came from, which it does not say.
 * Characters are {character, from, to}; what was made of others is an array of [character, change]: change 1 is one
 * more than there were, 0 takes the place of one, -1 that of two, and so on.
 */
const Normal = {
  PLAIN: 0xa0, // characters below it stay as they are, and join with nothing before them
  known: new Map(),

  characters(text, from, to) {
    const found = [];
    while (from < to) {
      const character = String.fromCodePoint(text.codePointAt(from));
      found.push({ character, from, to: from + character.length });
      from += character.length;
    }
    return found;
  },

  /** Return what was made of characters, with the places of those that they came from. */
  placed(old, made, start) {
    let at = 0;
    return made.map(([character, change]) => {
      const { from, to } = change > 0 ? (old[at - 1] ?? { from: start, to: start }) : old[at];
      if (change <= 0) at += 1 - change;
      return { character, from, to };
    });
  },

  /** One character at a time, as Rust does it: no final sigma. */
  lowercase(characters, start) {
    const small = ({ character: c }) => Unicode.small(c) ?? (Unicode.isUnassigned(c) ? c : c.toLowerCase());
    const made = characters.flatMap((character) => [...small(character)].map((c, n) => [c, n ? 1 : 0]));
    return Normal.placed(characters, made, start);
  },

  nfkc(characters, start) {
    if (characters.every(({ character }) => character.codePointAt(0) < Normal.PLAIN)) return characters;
    return Normal.placed(characters, Normal.composed(Normal.decomposed(characters)), start);
  },

  /** Take characters apart, and put the marks behind a letter in order. */
  decomposed(characters) {
    const made = [];
    for (const { character } of characters) {
      const parts = Unicode.isUnformed(character) ? character : character.normalize("NFKD");
      for (const [n, part] of [...parts].entries()) {
        let at = made.length;
        if (Normal.isMark(part)) while (at > 0 && Normal.isBehind(made[at - 1][0], part)) at--;
        made.splice(at, 0, [part, n ? 1 : 0]);
      }
    }
    return made;
  },

  /** Join letters with the marks behind them that they have a character with. */
  composed(parts) {
    const made = [];
    let letter = null;
    let last = null; // the last mark behind it that stayed
    for (const [character, change] of parts) {
      const mark = Normal.isMark(character);
      const free = last === null || (mark && Normal.isBehind(character, last[0]));
      const joined = letter && free ? Normal.joined(letter[0], character) : null;
      if (joined) {
        letter[0] = joined;
        letter[1] += change - 1;
        continue;
      }
      const part = [character, change];
      made.push(part);
      if (!mark) [letter, last] = [part, null];
      else if (letter) last = part;
    }
    return made;
  },

  /** Tell whether a mark is of those that are put in order. */
  isMark(character) {
    if (character.codePointAt(0) < 0x300) return false;
    // One of these two is of a higher, the other of a lower class than every mark but itself.
    return Normal.isBehind("\u0345", character) || Normal.isBehind(character, "\u0334");
  },

  /** Tell whether `one` is put behind `other` where it stands before it. */
  isBehind(one, other) {
    if (one.codePointAt(0) < 0x300 || other.codePointAt(0) < 0x300) return false;
    const pair = one + other;
    if (!Normal.known.has(pair)) {
      Normal.known.set(pair, ![one, other].some(Unicode.isUnformed) && pair.normalize("NFD") !== pair);
    }
    return Normal.known.get(pair);
  },

  /** Return the one character that is both, or null. */
  joined(one, other) {
    if (other.codePointAt(0) < Normal.PLAIN || [one, other].some(Unicode.isUnformed)) return null;
    const both = (one + other).normalize("NFC");
    return both.length === String.fromCodePoint(both.codePointAt(0)).length ? both : null;
  },
};
