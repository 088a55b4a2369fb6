/*
 * The Unicode tables of the library tokenizers, which have different versions (NFKC of Unicode 9, words of 16, lower case
 * of 17), and a browser has yet another one. Tokens must not depend on the browser, so the page does not change any
 * character that the library does not know. tests/helpers/unicode_tables.py writes the first two tables, and tests compare
 * all three with the library. The reverse cannot be avoided: a browser with a Unicode older than 16 takes some letters
 * for symbols.
 */
export const Unicode = {
  // Ranges of code points, each as two numbers in base 36: the distance from the end of the range before, and from its
  // own first to its last. These are symbols to the library, because they are not assigned in its Unicode. A range may
  // also hold assigned symbols, which makes the ranges fewer and changes nothing.
  UNASSIGNED: `
    oo 1 7 3 8 0 2 0 l 0 b2 0 13 1 1f 5 1k 7 s 3 7 a 7j 0 1p 1 2u d 1o 1 1e h t 3 c 4 w 7 6m 0 9 1 3 1 n 0 8 0 2 2 5
    1 a 1 3 1 5 7 2 3 3 0 6 1 q 1 4 0 7 3 3 1 n 0 8 0 3 0 3 0 3 1 2 0 6 3 3 1 4 2 2 6 5 0 2 6 i 9 4 0 a 0 4 0 n 0 8
    0 3 0 6 1 b 0 4 0 4 1 2 e 5 1 d 6 8 0 4 0 9 1 3 1 n 0 8 0 3 0 6 1 a 1 3 1 4 6 4 3 3 0 6 1 j 9 3 0 7 2 4 0 5 2 3
    0 2 0 3 2 3 2 4 2 d 3 6 2 4 0 5 1 2 5 2 d m 4 e 0 4 0 o 0 h 1 a 0 4 0 5 6 3 0 4 1 2 1 5 1 b 6 n 0 4 0 o 0 b 0 6
    1 a 0 4 0 5 6 3 5 3 0 5 1 b 0 4 b e 0 4 0 1g 0 4 0 7 3 h 1 r 0 4 0 j 2 p 0 a 0 2 1 8 2 2 3 7 0 2 0 9 5 b 1 4 b
    1n 3 u 10 3 0 2 0 6 0 p 0 2 0 o 1 6 0 2 0 8 0 b 1 5 v 21 0 11 3 14 0 11 0 g 1e 5j 0 2 4 2 1 ai 0 5 1 8 0 2 0 5 1
    16 0 5 1 y 0 5 1 8 0 2 0 5 1 g 0 1m 0 5 1 1w 1 x 2 r 5 2f 1 7 1 im 2 2i 6 n 8 p 8 l b e 0 4 0 3 b 2n 1 b l r 5
    2i 6 18 4 1z 9 w 0 d 3 d 7 17 1 6 a 19 3 r 5 c 2 1r 1 1u 0 u 1 c 5 b 5 f 1 w 1c 26 0 4n 7 1p 2 g 2 1r 4 18 1 c 7
    18 4 ev 1 7 1 13 1 7 1 9 0 2 0 2 0 2 0 w 1 1i 0 g 0 f 1 7 0 k 1 4 0 a 0 2u 0 d 1 s 0 e 2 y e y e 3x 3 ij 1h 1ed
    y 9q 4 1a 0 2 4 2 1 1l 6 3 d p 8 8 0 8 0 8 0 8 0 8 0 8 0 8 0 8 0 3j 1o 2i b 5z p 29 0 2f 1 2w 4 18 0 2n 0 2f 8
    1d 0 mlq 1u 9p j 55 7 5r 1 3 0 2 0 9 k 1o i 1l 7 1z 7 d 5 39 a v 2 27 0 c 3 y 0 1k 8 f 1 b 1 2w n t 9 7 1 7 1 7
    8 8 0 8 0 1p 3 3j 1 b 5 8md b o 3 1e 3 6sv 1 2z 11 8 b 6 4 r 0 6 0 2 0 3 0 3 0 3i f ce 1 1j 13 17 5 1g 0 k 0 5 3
    6 0 3s 3 5b 2 7 1 7 1 7 1 4 2 8 0 8 g d 0 r 0 k 0 3 0 g 1 f x 3g 1n 2h 1s 1b 3l u 2 1e e t 3 11 8 v 4 18 4 v 0
    12 3 f 15 4f 1 b 5 11 3 11 3 15 7 1h a d 0 g 0 8 0 3 0 c 0 g 0 8 0 3 2 1h b 8o 8 n 9 9 n 7 0 17 0 a 1w 7 1 2 0
    19 0 3 2 2 1 o 0 21 1s k 0 3 4 y 2 s 1x 1l 3 l 1 1f 0 3 4 9 0 4 0 u 1 4 3 b m 1t v 14 o 1j 2 u 1 s 4 r 31 22 1i
    1g c 1g 6 1b 7 b 5 13 2 u 6x 17 0 4 1 3 f 4 1i 19 7 17 l r 11 t j o 8 27 3 11 8 1x c q 6 b 5 1i 0 j 7 14 8 2p v
    j 0 1c 1p 8 0 2 0 5 0 g 0 c 5 1o 4 b 5 5 0 9 1 3 1 n 0 8 0 3 0 6 0 b 1 3 1 4 1 2 5 2 4 8 1 8 2 6 a b 0 2 1 2 0
    13 0 b 0 2 1 2 0 5 0 b a 3 s 2l 0 6 t 21 7 b 4l 1j 1 13 x 1y a b 11 1n 5 b 5 l r s 1 g 3 o 54 1p 2r 2c b 9 1 2 1
    9 0 3 0 v 0 3 1 d 8 b 1x 9 1 1b 1 c q 21 7 2c c 22 5i z d b 5 a 0 1a 0 f 9 u 2 x 1 n 0 f 20 8 0 3 0 19 2 2 0 3 0
    a 7 b 5 7 0 3 0 12 0 3 0 7 6 b 8l q 6 i 0 16 2 u 2c 2 25 po 2t 34 g 5h 217 2s c uv 9 330 4 g8 5a0 1n 1c5 fu 6 w
    0 b 3 2a 0 b 5 v 1 7 9 1z 9 b 8 m 4 k bz 1n 5h 2k 2s 24 3 1m 6 i 1r 6 a 3 d 4qh 7 yf 14 b 6w6 5 0 8 0 3 0 84 e 2
    s 4 1 2 d 5 7 b1 1s3 30 4 e 2 a 6 b 1 9 317 6z ed 1b 1 o dd 5f k 1z c9 2e 0 20 0 3 1 2 1 3 1 5 0 d 0 2 0 8 0 1u
    0 5 1 9 0 8 0 t 0 5 0 6 0 2 2 8 0 9h 1 85 1 jj e 6 0 g un w 5 7 5w 8 0 i 1 8 0 3 0 6 4 1r w 2 33 1a 2 f 1 b 3 3
    8v w g 1n d1 17 5x 18 dg 8 0 5 0 3 0 g 0 5i 1 h 14 25 3 b x1 5 0 s 0 3 0 2 1 2 0 b 0 5 0 2 0 2 5 2 3 2 0 2 0 2 0
    4 0 3 0 2 1 2 0 2 0 2 0 2 0 2 0 3 0 2 1 5 0 8 0 5 0 5 0 2 0 b 0 i 4 4 0 6 0 i g3 4v 1j u c 19 3 a 6 3 1tt 2v sl
    wyp v 37f 5 67 1 4g3 d 5rm e hb 1wh f3 15t 3t8 4 38h f9e7 6p 47bj
  `,

  // Assigned after Unicode 9, so the library's NFKC does not know them.
  UNFORMED: `
    1kt 0 4a 1o 8b 0 fy 0 73 1 am 0 1nf 0 q2 f mg 4 45h 0 n3n 2 1k 0 n1 0 huo dt 12i gx 6j 0 jv 0 20 25 3y 0 rf gw
    ix df1 2ex i1 icl z 3sn 14v 29p 0 22s 9
  `,

  // Capital letters added in Unicode 16 and 17: first, last, and the distance to their small letters.
  CAPITALS: [
    [0x1c89, 0x1c89, 1],
    [0xa7cb, 0xa7cb, 0x264 - 0xa7cb],
    [0xa7cc, 0xa7cc, 1],
    [0xa7ce, 0xa7ce, 1],
    [0xa7d2, 0xa7d2, 1],
    [0xa7d4, 0xa7d4, 1],
    [0xa7da, 0xa7da, 1],
    [0xa7dc, 0xa7dc, 0x19b - 0xa7dc],
    [0x10d50, 0x10d65, 32],
    [0x16ea0, 0x16eb8, 27],
  ],

  /** Return a table's ranges as a regular expression has them. */
  ranges(table) {
    let [ranges, last] = ["", 0];
    for (const [, distance, more] of table.matchAll(/(\w+)\s+(\w+)/g)) {
      const first = last + parseInt(distance, 36);
      last = first + parseInt(more, 36);
      ranges += `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`;
    }
    return ranges;
  },

  /** Tell whether a character is a symbol to the library because it does not know it. */
  isUnassigned(character) {
    return character >= Unicode.FIRST && Unicode.unassigned.test(character);
  },

  /** Tell whether the library's NFKC does not know a character. */
  isUnformed(character) {
    return character >= Unicode.FIRST && Unicode.unformed.test(character);
  },

  /** Return the small letter of a character that only some browsers know, or null. */
  small(character) {
    if (character < Unicode.CAPITAL) return null;
    const point = character.codePointAt(0);
    const range = Unicode.CAPITALS.find(([first, last]) => first <= point && point <= last);
    return range ? String.fromCodePoint(point + range[2]) : null;
  },

  FIRST: "\u0378", // first character in the tables; earlier ones are not looked up
  CAPITAL: "\u1c89", // the first one
};

Unicode.unassigned = new RegExp(`[${Unicode.ranges(Unicode.UNASSIGNED)}]`, "u");
Unicode.unformed = new RegExp(`[${Unicode.ranges(Unicode.UNASSIGNED)}${Unicode.ranges(Unicode.UNFORMED)}]`, "u");
