import { grouped } from "../dom.js";

/** @import { TableFormat } from "../description.js" */

/** How a table writes its numbers, as unroll's data/formats/parsing.py reads them. */
class Numbers {
  static MISSING = new Set(["", "nan", "na", "null", "?"]);
  static NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  static OTHER = /^[+-]?(?:nan|(inf|infinity))$/i; // that Python takes for numbers too
  static SHOWN = 20; // most characters of a cell that a message shows

  /** @param {TableFormat} form */
  constructor({ missing_values: marks, decimal }) {
    this.decimal = decimal;
    this.marks = new Set(marks);
    this.values = new Set(marks.map((mark) => this.#plain(mark)).filter(Number.isFinite));
  }

  /** Return the number in a cell, NaN where it is missing; null if it is none. */
  of(cell) {
    const value = this.marks.has(cell) ? NaN : this.#plain(cell);
    return this.values.has(value) ? NaN : value;
  }

  /** Return the finite number in a cell, NaN where it is missing; throws Error that begins with `place`. */
  finite(cell, place) {
    const value = this.of(cell);
    const got = `got “${cell.slice(0, Numbers.SHOWN)}”`;
    if (value === null) throw new Error(`${place}: expected a number, ${got}${this.#hint(cell)}`);
    if (Math.abs(value) === Infinity) {
      throw new Error(`${place}: expected a finite number, ${got}; leave the cell empty where a value is missing`);
    }
    if (Math.abs(Math.fround(value)) === Infinity) {
      throw new Error(`${place}: ${got}, too large for float32; scale it, or leave the cell empty where a value is missing`);
    }
    return value;
  }

  /** Return the number in a cell, whatever marks a missing value. */
  #plain(cell) {
    const text = this.decimal === "," && cell.includes(".") ? "" : cell.replaceAll(this.decimal, ".");
    if (Numbers.NUMBER.test(text)) return Number(text);
    const other = Numbers.OTHER.exec(text);
    if (other) return other[1] ? Infinity : NaN;
    return Numbers.MISSING.has(cell.toLowerCase()) ? NaN : null;
  }

  /** Return how to write a number with the other mark of decimals, to go behind a message. */
  #hint(cell) {
    const [name, other, unread] = this.decimal === "." ? ["point", "comma", ","] : ["comma", "point", "."];
    if (!cell.includes(unread) || !Numbers.NUMBER.test(cell.replace(/[.,]/g, ""))) return "";
    return `; write decimals with a ${name}, as in the training data, and thousands without a ${other}`;
  }
}

/** A series in a text file: a row for each time step, a column for each feature. */
export class Table {
  static DIVIDERS = [",", ";", "\t"];
  static CLOCKS = ["time", "timestamp"]; // as columns of times are called, in any case
  static LABELS = ["label", "class"];
  static EVIDENCE = 8; // time steps that must agree before a table is taken for one of several series
  static DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?$/;

  /**
   * Return the values of a table, [time][features], with NaN for missing ones. With a header the columns may be in any
   * order, and further columns are ignored; without one they are the features in their order. Throws a one-line Error
   * that names `file`.
   *
   * @param {string} text
   * @param {{ features: string[], names: string[], classes: string[], form: TableFormat }} run features: none where the
   *   run knows no names; names: of each feature, for messages
   * @param {{ file: string, most: number }} limits
   */
  static read(text, run, { file, most }) {
    const numbers = new Numbers(run.form);
    const { rows, header } = Table.#rows(text, run, numbers, file);
    const across = run.names.length === 1 && rows.length === 1 && !header; // a series of one feature, in one row
    const series = across ? Table.#turned(rows[0], run, numbers, file) : rows;
    if (!series.length) throw new Error(`${file} must contain at least one row of numbers, got none`);
    const places = header ? Table.#places(header, run, file) : Array.from(run.names.keys());
    const width = header?.length ?? run.names.length;
    for (const { line, cells } of series) {
      if (cells.length !== width) {
        const each = header ? "one for each name in the header" : "one for each feature";
        throw new Error(`${file}, line ${line}: expected ${Table.counted(width)}, ${each}, got ${cells.length}`);
      }
    }
    if (header) Table.#checkOrder(series, header, places, run.form, numbers, file);
    if (series.length > most) {
      throw new Error(`${file} may have at most ${grouped(most)} time steps, got ${grouped(series.length)}`);
    }
    const name = (place) => header?.[place] ?? run.features[place] ?? place + 1;
    return series.map(({ line, cells, at }) =>
      places.map((place) => numbers.finite(cells[place], `${file}, line ${line}, column ${at ?? name(place)}`)),
    );
  }

  /** Return the rows that are not empty, {line, cells}, and the names of the columns; null where there are none. */
  static #rows(text, { features, form }, numbers, file) {
    const lines = text.split(/\r\n|\r|\n/).map((content, n) => ({ line: n + 1, content }));
    const first = lines.find(({ content }) => content.trim());
    if (!first) return { rows: [], header: null };
    const usual = [";", "\t", ","].find((mark) => first.content.includes(mark)) ?? null;
    const begins = Table.#cells(first.content, usual, `${file}, line ${first.line}`);
    const isNumber = (cell) => numbers.of(cell) !== null || !/\p{L}/u.test(cell);
    const named = features.length > 0 && features.every((name) => begins.includes(name));
    const headed = named || !begins.every(isNumber);
    if (!headed && usual === "," && form.decimal === "," && !first.content.includes('"')) {
      throw new Error(
        `${file}, line ${first.line}: a comma may divide cells or stand before decimals; divide cells by semicolons`,
      );
    }
    const mark = headed ? Table.#divider(first.content, features) : usual;
    const rows = lines
      .map(({ line, content }) => ({ line, cells: Table.#cells(content, mark, `${file}, line ${line}`) }))
      .filter(({ cells }) => cells.some((cell) => cell));
    return { header: headed ? rows.shift().cells : null, rows };
  }

  /** Return what divides the cells of a table with a header: the mark that occurs most often there; null for blanks. */
  static #divider(header, features) {
    const counts = Table.DIVIDERS.map((mark) => header.split(mark).length);
    const most = Math.max(...counts);
    return most > 1 || features.includes(header.trim()) ? Table.DIVIDERS[counts.indexOf(most)] : null;
  }

  /** Return the cells of a line without the blanks and quotes around them; `mark` null: they are divided by blanks. */
  static #cells(line, mark, place) {
    if (mark === null) return line.trim().split(/\s+/).map(Table.#unquoted);
    if (mark === "\t") return line.split(mark).map((cell) => cell.trim()); // in which quotes are as other characters
    const cells = [];
    for (let at = 0; at <= line.length; at++) {
      if (line[at] === '"') {
        const quoted = /"(?:[^"]|"")*"/y;
        quoted.lastIndex = at;
        const cell = quoted.exec(line)?.[0] ?? "";
        at += cell.length;
        if (!cell || (at < line.length && line[at] !== mark)) {
          throw new Error(`${place}: a quote does not enclose a whole cell; write the table again as CSV`);
        }
        cells.push(Table.#unquoted(cell));
      } else {
        const end = line.indexOf(mark, at);
        cells.push(line.slice(at, end < 0 ? line.length : end).trim());
        at = end < 0 ? line.length : end;
      }
    }
    return cells;
  }

  static #unquoted(cell) {
    return cell.replace(/^"(.*)"$/, "$1").replaceAll('""', '"').trim();
  }

  /** Return a row of numbers as a column: {line, cells, at} with the number of each; without missing ones at its end. */
  static #turned({ line, cells }, { classes }, numbers, file) {
    const [value] = cells.map((cell) => numbers.of(cell));
    if (cells.length > 1 && Number.isInteger(value) && classes.includes(String(value))) {
      const either = "may be the class or a value; write each value on a line of its own";
      throw new Error(`${file}, line ${line}: its first number, ${cells[0]}, ${either}`);
    }
    const last = cells.findLastIndex((cell) => !Number.isNaN(numbers.of(cell)));
    return cells.slice(0, last + 1).map((cell, n) => ({ line, cells: [cell], at: n + 1 }));
  }

  /** Return the column of each feature. */
  static #places(header, { features, names, form }, file) {
    const again = header.find((name, n) => header.indexOf(name) < n);
    if (again !== undefined) throw new Error(`${file} has two columns “${again}”: expected names that differ`);
    if (form.wide) {
      const what = "with names of columns, unroll predict reads a series from each row, and this page from one column";
      throw new Error(`${file}: ${what}: remove the names, and write a value on each line`);
    }
    if (features.length) {
      const missing = features.filter((name) => !header.includes(name));
      if (!missing.length) return features.map((name) => header.indexOf(name));
      const lacks = `column${missing.length > 1 ? "s" : ""} ${Table.list(missing.map((name) => `“${name}”`))}`;
      throw new Error(`${file} has no ${lacks}: expected those of the training data, got ${Table.list(header)}`);
    }
    const roles = ["id", ...Table.CLOCKS, ...Table.LABELS];
    const places = Array.from(header.keys()).filter((at) => !roles.includes(header[at].toLowerCase()));
    if (places.length === names.length) return places;
    const expected = `${Table.counted(names.length)} per time step (${Table.list(names)})`;
    throw new Error(`${file}: expected ${expected}, got ${places.length} columns: ${Table.list(header)}`);
  }

  /** Throw Error if the rows belong to several series, or their times go back. */
  static #checkOrder(rows, header, places, { id, time }, numbers, file) {
    const free = Array.from(header.keys()).filter((at) => !places.includes(at));
    const place = free.find((at) => header[at] === id) ?? free.find((at) => header[at].toLowerCase() === "id");
    const series = new Set(rows.map(({ cells }) => cells[place]));
    if (series.size > 1) {
      throw new Error(`${file} holds ${grouped(series.size)} series: the page reads one; unroll predict reads all`);
    }
    const long = place === undefined && Table.#longForm(rows, free, numbers);
    if (long) {
      const [repeats, counts] = [header[long.id], header[long.time]];
      const why = `column ${repeats} repeats, column ${counts} counts`;
      throw new Error(`${file} looks like ${grouped(long.count)} series: ${why}; if it is one, remove the column ${repeats}`);
    }
    const isClock = (at) => header[at] === time || Table.CLOCKS.includes(header[at].toLowerCase());
    for (const at of free.filter(isClock)) {
      const times = Table.#times(rows.map(({ cells }) => cells[at]), numbers);
      const back = times.findIndex((now, n) => now < times[n - 1]);
      if (back >= 0) throw new Error(`${file}, line ${rows[back].line}, column ${header[at]}: the time goes back`);
      const same = place === undefined ? -1 : times.findIndex((now, n) => now === times[n - 1]);
      if (same >= 0) {
        const [before, here] = [rows[same - 1].line, rows[same].line];
        throw new Error(`${file}, line ${here}, column ${header[at]}: the time is that of line ${before} already`);
      }
    }
  }

  /**
   * Return which columns of a table without an id make its rows look like time steps of several series, {id, time}, and
   * their `count`; null if they do not. As `long_form` of unroll's data/formats/roles.py.
   */
  static #longForm(rows, places, numbers) {
    const columns = places.map((at) => rows.map(({ cells }) => cells[at]));
    const times = columns.map((cells) => Table.#times(cells, numbers));
    for (const [n, cells] of columns.entries()) {
      const values = cells.map((cell) => numbers.of(cell));
      if (!values.includes(null) && !values.every(Number.isInteger)) continue;
      const names = values.includes(null) ? cells : values;
      const count = new Set(names).size;
      if (count < 2 || count > rows.length / 3 || rows.length - count < Table.EVIDENCE) continue;
      const time = times.findIndex((column, other) => other !== n && Table.#countsWithin(column, names));
      if (time >= 0) return { id: places[n], time: places[time], count };
    }
    return null;
  }

  /** Tell whether times count on within each group of rows: by even steps, or ever upwards as the rows stand. */
  static #countsWithin(times, names) {
    if (times.some(Number.isNaN)) return false;
    const groups = new Map(Array.from(new Set(names), (name) => [name, []]));
    times.forEach((now, row) => groups.get(names[row]).push(now));
    const steps = [...groups.values()].flatMap((own) => {
      const sorted = own.sort((a, b) => a - b);
      return sorted.slice(1).map((now, at) => now - sorted[at]);
    });
    const [least, most] = steps.reduce(([low, high], step) => [Math.min(low, step), Math.max(high, step)], [Infinity, -Infinity]);
    if (steps[0] > 0 && most - least <= 1e-6 * steps[0]) return true;
    const follows = Array.from(times.keys()).filter((row) => row > 0 && names[row] === names[row - 1]);
    return follows.length === steps.length && follows.every((row) => times[row] > times[row - 1]);
  }

  /** Return times as numbers, of dates milliseconds; NaN for what is neither. */
  static #times(cells, numbers) {
    const given = cells.map((cell) => numbers.of(cell));
    return given.includes(null) ? cells.map(Table.#date) : given;
  }

  static #date(cell) {
    const [found, day, clock = "00:00", fraction = "0", zone = "Z"] = Table.DATE.exec(cell) ?? [];
    return found ? Date.parse(`${day}T${clock}${zone}`) + 1000 * Number(`0.${fraction}`) : NaN;
  }

  /** Return a count of numbers in words. */
  static counted(count) {
    return count === 1 ? "one number" : `${grouped(count)} numbers`;
  }

  /** Return names as a list, shortened to fit a line. */
  static list(names) {
    return names.length > 4 ? `${names.slice(0, 3).join(", ")} … ${names.at(-1)}` : names.join(", ");
  }
}
