import { grouped } from "../dom.js";

/** A series in a text file: a row for each time step, a column for each feature. */
export class Table {
  static MISSING = new Set(["", "nan", "na", "null", "?"]);
  static NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

  /**
   * Return the values of a table, [time][features], NaN where one is missing. `features` are the names that may stand
   * above the columns: these then may stand in any order, beside others. Throws Error with one line, which names `file`.
   */
  static read(text, features, { file, most }) {
    const lines = text.trimEnd().split(/\r\n|\r|\n/);
    const between = [";", "\t", ","].find((mark) => lines[0].includes(mark)) ?? /\s+/;
    const cells = (line) => (between instanceof RegExp ? line.trim() : line).split(between).map(Table.#cell);
    const rows = lines.map((line) => cells(between === ";" ? line.replaceAll(",", ".") : line));
    const header = rows[0].some((cell) => Number.isNaN(Table.#number(cell) ?? 0)) ? rows.shift() : null;
    if (!rows.length || !text.trim()) throw new Error(`${file} holds no row of numbers`);
    const across = features.length === 1 && rows.length === 1 && !header; // a series of one feature, in one row
    const series = across ? rows[0].map((cell) => [cell]) : rows;
    if (series.length > most) {
      throw new Error(`${file} is too long: ${grouped(series.length)} time steps; at most ${grouped(most)} are read here`);
    }
    const columns = Table.#columns(header, features, file);
    const width = header?.length ?? features.length;
    return series.map((row, number) => {
      const place = `${file}, row ${number + (header ? 2 : 1)}`;
      if (row.length !== width) {
        const each = header ? "one for each name above" : "one for each feature";
        throw new Error(`${place}: expected ${Table.counted(width)}, ${each}; got ${row.length}`);
      }
      return columns.map((column) => {
        const value = Table.#number(row[column]);
        if (Number.isNaN(value)) throw new Error(`${place}: expected a number, got “${row[column].slice(0, 20)}”`);
        return value ?? NaN;
      });
    });
  }

  /** Return in which column each feature stands. */
  static #columns(header, features, file) {
    const found = header ? features.map((name) => header.indexOf(name)) : [];
    if (header && !found.includes(-1)) return found;
    if (header && header.length !== features.length) {
      const expected = `${Table.counted(features.length)} for a time step: ${Table.list(features)}`;
      throw new Error(`${file} names ${header.length} columns, ${Table.list(header)}: expected ${expected}`);
    }
    return Array.from(features.keys());
  }

  /** Return a count of numbers in words. */
  static counted(count) {
    return count === 1 ? "one number" : `${grouped(count)} numbers`;
  }

  /** Return names as a list that fits a line. */
  static list(names) {
    return names.length > 4 ? `${names.slice(0, 3).join(", ")} … ${names.at(-1)}` : names.join(", ");
  }

  /** Return a cell without what stands around it. */
  static #cell(cell) {
    return cell.trim().replace(/^"(.*)"$/, "$1");
  }

  /** Return the number of a cell: null where it is missing, NaN where it is something else. */
  static #number(cell) {
    if (Table.MISSING.has(cell.toLowerCase())) return null;
    return Table.NUMBER.test(cell) ? Number(cell) : NaN;
  }
}
