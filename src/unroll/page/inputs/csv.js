import { grouped } from "../dom.js";

/** A series in a text file: a row for each time step, a column for each feature. */
export class Table {
  static MISSING = new Set(["", "nan", "na", "null", "?"]);
  static NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

  /**
   * Return the values of a table, [time][features], with NaN for missing ones. With a header of feature names
   * (`features`), the columns may be in any order, and further columns are ignored. Throws a one-line Error that
   * names `file`.
   */
  static read(text, features, { file, most }) {
    const lines = text.trimEnd().split(/\r\n|\r|\n/);
    const between = [";", "\t", ","].find((mark) => lines[0].includes(mark)) ?? /\s+/;
    const cells = (line) => (between instanceof RegExp ? line.trim() : line).split(between).map(Table.#cell);
    const rows = lines.map((line) => cells(between === ";" ? line.replaceAll(",", ".") : line));
    const header = rows[0].some((cell) => Number.isNaN(Table.#number(cell) ?? 0)) ? rows.shift() : null;
    if (!rows.length || !text.trim()) throw new Error(`${file} must contain at least one row of numbers, got none`);
    const across = features.length === 1 && rows.length === 1 && !header; // a series of one feature, in one row
    const series = across ? rows[0].map((cell) => [cell]) : rows;
    if (series.length > most) {
      throw new Error(`${file} may have at most ${grouped(most)} time steps, got ${grouped(series.length)}`);
    }
    const columns = Table.#columns(header, features, file);
    const width = header?.length ?? features.length;
    return series.map((row, number) => {
      const place = `${file}, row ${number + (header ? 2 : 1)}`;
      if (row.length !== width) {
        const each = header ? "one for each name in the header" : "one for each feature";
        throw new Error(`${place}: expected ${Table.counted(width)}, ${each}, got ${row.length}`);
      }
      return columns.map((column) => {
        const value = Table.#number(row[column]);
        if (Number.isNaN(value)) throw new Error(`${place}: expected a number, got “${row[column].slice(0, 20)}”`);
        return value ?? NaN;
      });
    });
  }

  /** Return the column of each feature. */
  static #columns(header, features, file) {
    const columns = header ? features.map((name) => header.indexOf(name)) : [];
    if (header && !columns.includes(-1)) return columns;
    if (header && header.length !== features.length) {
      const expected = `${Table.counted(features.length)} per time step (${Table.list(features)})`;
      throw new Error(`${file}: expected ${expected}, got ${header.length} columns: ${Table.list(header)}`);
    }
    return Array.from(features.keys());
  }

  /** Return a count of numbers in words. */
  static counted(count) {
    return count === 1 ? "one number" : `${grouped(count)} numbers`;
  }

  /** Return names as a list, shortened to fit a line. */
  static list(names) {
    return names.length > 4 ? `${names.slice(0, 3).join(", ")} … ${names.at(-1)}` : names.join(", ");
  }

  /** Return a cell without surrounding spaces and quotes. */
  static #cell(cell) {
    return cell.trim().replace(/^"(.*)"$/, "$1");
  }

  /** Return the number in a cell: null if it is missing, NaN if it is not a number. */
  static #number(cell) {
    if (Table.MISSING.has(cell.toLowerCase())) return null;
    return Table.NUMBER.test(cell) ? Number(cell) : NaN;
  }
}
