import { Unicode } from "./unicode.js";

/*
 * Tokenise texts like the library tokenizers with the settings of unroll's data/tokenizer.py: NFKC, lower case, splitting
 * into words and punctuation, then whole words or byte pair encoding. Each character keeps its offset in the text, so
 * that a token can be shown in its place.
 */
export const Texts = {
  // Rust's \w and \s in regular expressions.
  WORDS:
    /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu,

  /**
   * Return the ids of a text's tokens (`numbers`), what a model reads of them (`steps`: the ids, or with n-grams of each
   * an array of it and its n-grams) and their offsets in it (`places`), [start, end) as JavaScript counts characters.
   * `tokenizer` is the JSON that the library saves, `ngram_buckets` the number of n-grams that are told apart, 0 for none,
   * `time_steps` says how many tokens are read of those that there are, their `count`.
   */
  tokens(text, { tokenizer, ngram_buckets: buckets, time_steps }) {
    const model = Texts.model(tokenizer);
    const tokens = { numbers: [], steps: [], places: [] };
    for (const { from, to, number } of Texts.parts(text, tokenizer.added_tokens)) {
      if (number !== null) {
        tokens.numbers.push(number);
        tokens.steps.push(buckets ? [number] : number);
        tokens.places.push([from, to]);
        continue;
      }
      const characters = Normal.lowercase(Normal.nfkc(Normal.characters(text, from, to), from), from);
      for (const word of Texts.words(characters)) {
        for (const [piece, first, behind] of model.pieces(word.map(({ character }) => character))) {
          tokens.numbers.push(piece);
          tokens.steps.push(buckets ? [piece, ...Ngrams.hashed(word, buckets)] : piece);
          tokens.places.push([word[first].from, word[behind - 1].to]);
        }
      }
    }
    const most = time_steps?.max_length ?? Infinity;
    const [numbers, steps, places] = [tokens.numbers, tokens.steps, tokens.places].map((each) => each.slice(0, most));
    return { numbers, steps, places, count: tokens.numbers.length };
  },

  /** Return the name of a token: "word" or "piece". */
  unit(tokenizer) {
    return tokenizer.model.type === "BPE" ? "piece" : "word";
  },

  /** Return the model of a tokenizer, from a cache. */
  model(tokenizer) {
    if (!Texts.models.has(tokenizer)) {
      const Kind = tokenizer.model.type === "BPE" ? BytePairs : WholeWords;
      Texts.models.set(tokenizer, new Kind(tokenizer.model));
    }
    return Texts.models.get(tokenizer);
  },

  models: new WeakMap(),

  /** Yield the parts of a text: special tokens with their ids, and the text between them. */
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
    const symbol = (character) => "\ufffd".repeat(character.length); // of the same length, so that offsets stay valid
    const text = characters.map(({ character: c }) => (Unicode.isUnassigned(c) ? symbol(c) : c)).join("");
    let [unit, number] = [0, 0]; // an offset in `text`, and the index of its character
    for (const { index, 0: word } of text.matchAll(Texts.WORDS)) {
      while (unit < index) unit += characters[number++].character.length;
      const first = number;
      while (unit < index + word.length) unit += characters[number++].character.length;
      yield characters.slice(first, number);
    }
  },
};

/** Hashed character n-grams of words, as in unroll's data/ngrams.py. */
export const Ngrams = {
  SIZES: [3, 4, 5],
  CHARACTERS: 22, // of a word that are read

  /** Return the numbers of the n-grams of a word, given as its characters: 1 + the hash modulo `buckets`. */
  hashed(word, buckets) {
    const characters = word.slice(0, Ngrams.CHARACTERS).map(({ character }) => character);
    const bytes = ["<", ...characters, ">"].map(Ngrams.utf8);
    return Ngrams.SIZES.flatMap((size) =>
      Array.from({ length: Math.max(0, bytes.length - size + 1) }, (_, at) => {
        return 1 + (Ngrams.fnv1a(bytes.slice(at, at + size).flat()) % buckets);
      }),
    );
  },

  /** Return the 32-bit hash FNV-1a of bytes. */
  fnv1a(bytes) {
    return bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
  },

  /** Return the bytes of a character in UTF-8. */
  utf8(character) {
    const point = character.codePointAt(0);
    if (point < 0x80) return [point];
    const count = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3; // bytes that follow, of six bits each
    const rest = Array.from({ length: count }, (_, n) => 0x80 | ((point >> (6 * (count - 1 - n))) & 0x3f));
    return [[0xc0, 0xe0, 0xf0][count - 1] | (point >> (6 * count)), ...rest];
  },
};

/** A vocabulary of whole words. */
class WholeWords {
  constructor({ vocab, unk_token }) {
    this.vocabulary = new Map(Object.entries(vocab));
    this.unknown = this.vocabulary.get(unk_token);
  }

  /** Return the tokens of a word, given as its characters: [id, start, end). */
  pieces(characters) {
    return [[this.vocabulary.get(characters.join("")) ?? this.unknown, 0, characters.length]];
  }
}

/** Byte pair encoding: neighbours are merged in the order of the learned merges. */
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
      const [left, right] = parts.splice(best, 2);
      parts.splice(best, 0, { text: left.text + right.text, from: left.from, to: right.to });
      ranks.splice(best, 1);
      for (const at of [best - 1, best]) if (at >= 0) ranks[at] = this.#rank(parts, at);
    }
    return parts.map(({ text, from, to }) => [this.vocabulary.get(text), from, to]);
  }

  /** Return the rank at which a part is merged with the next one; Infinity: never. */
  #rank(parts, at) {
    return at + 1 < parts.length ? (this.ranks.get(`${parts[at].text} ${parts[at + 1].text}`) ?? Infinity) : Infinity;
  }
}

/**
 * NFKC and lower case, with the offset of each character, which the browser's functions do not give. Characters are
 * {character, from, to}; a conversion is an array of [character, change]: change 1 adds a character, 0 replaces one, -1
 * replaces two, and so on.
 */
const Normal = {
  PLAIN: 0xa0, // characters below it are not changed and never combine with earlier ones
  known: new Map(),

  characters(text, from, to) {
    const characters = [];
    while (from < to) {
      const character = String.fromCodePoint(text.codePointAt(from));
      characters.push({ character, from, to: from + character.length });
      from += character.length;
    }
    return characters;
  },

  /** Return converted characters with the offsets of their originals. */
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

  /** Decompose characters, and sort the marks after a letter. */
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

  /** Compose letters with the marks after them where Unicode has such a character. */
  composed(parts) {
    const made = [];
    let letter = null;
    let last = null; // the last mark after it that was not composed
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

  /** Tell whether a mark takes part in sorting. */
  isMark(character) {
    if (character.codePointAt(0) < 0x300) return false;
    // The classes of these two are higher and lower than those of all other marks.
    return Normal.isBehind("\u0345", character) || Normal.isBehind(character, "\u0334");
  },

  /** Tell whether `first`, followed by `second`, is sorted behind it. */
  isBehind(first, second) {
    if (first.codePointAt(0) < 0x300 || second.codePointAt(0) < 0x300) return false;
    const pair = first + second;
    if (!Normal.known.has(pair)) {
      Normal.known.set(pair, ![first, second].some(Unicode.isUnformed) && pair.normalize("NFD") !== pair);
    }
    return Normal.known.get(pair);
  },

  /** Return the composed character of two, or null. */
  joined(first, second) {
    if (second.codePointAt(0) < Normal.PLAIN || [first, second].some(Unicode.isUnformed)) return null;
    const both = (first + second).normalize("NFC");
    return both.length === String.fromCodePoint(both.codePointAt(0)).length ? both : null;
  },
};
