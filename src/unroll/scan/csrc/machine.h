// The machine that carries out a program (program.h): a group of the batch goes through all time steps, phase by phase.
//
// Stages are interpreted: an instruction works on several rows at once: few enough that what a stage reads and writes of
// them stays in the nearest cache, and enough that decoding the instruction costs little.

namespace unroll {
namespace CONCAT(in_, ISA) {

constexpr long NEAREST = 8192;  // floats of those rows; measured with Zen 4, whose nearest cache has as many

// The rows of an operand.
struct Vectors {
  float* at;
  long row;
};

// Rows of vectors for one instruction; `whole`: all of the result's last register may be stored.
struct Work {
  Vectors to, a, b, c;
  long rows, width;
  bool whole;
};

template <class F>
static void each_unit(const Work& work, const F& f) {
  const auto [to, a, b, c, rows, width, whole] = work;
  const long rest = width % WIDTH, full = width - rest;
  for (long r = 0; r < rows; ++r) {
    float* const out = to.at + r * to.row;
    const float *in_a = a.at + r * a.row, *in_b = b.at + r * b.row, *in_c = c.at + r * c.row;
    for (long u = 0; u < full; u += WIDTH) store(out + u, f(load(in_a + u), load(in_b + u), load(in_c + u)), WIDTH);
    if (!rest) continue;
    const Vec last = f(load(in_a + full, rest), load(in_b + full, rest), load(in_c + full, rest));
    store(out + full, last, whole ? WIDTH : rest);
  }
}

static void expand(const Work& work) {
  for (long r = 0; r < work.rows; ++r) {
    const Vec value = all(work.a.at[r * work.a.row]);
    float* const out = work.to.at + r * work.to.row;
    for (long u = 0; u < work.width; u += WIDTH) store(out + u, value, work.whole ? WIDTH : work.width - u);
  }
}

static void accumulate(const Work& work) {
  for (long u = 0; u < work.width; u += WIDTH) {
    Vec sum{};
    for (long r = 0; r < work.rows; ++r) sum += load(work.a.at + r * work.a.row + u, work.width - u);
    store(work.to.at + u, load(work.to.at + u) + sum, WIDTH);
  }
}

static void carry_out(program::Op op, const Work& work) {
  using program::Op;
  const Vec zero{}, one = zero + 1;
  switch (op) {
    case Op::copy: return each_unit(work, [](Vec a, Vec, Vec) { return a; });
    case Op::expand: return expand(work);
    case Op::neg: return each_unit(work, [](Vec a, Vec, Vec) { return -a; });
    case Op::reciprocal: return each_unit(work, [](Vec a, Vec, Vec) { return 1 / a; });
    case Op::sqrt: return each_unit(work, [](Vec a, Vec, Vec) { return each_of<square_root>(a); });
    case Op::abs: return each_unit(work, [](Vec a, Vec, Vec) { return absolute(a); });
    case Op::sign: return each_unit(work, [=](Vec a, Vec, Vec) { return (a > 0 ? one : zero) - (a < 0 ? one : zero); });
    case Op::exp: return each_unit(work, [](Vec a, Vec, Vec) { return exp(a); });
    case Op::log: return each_unit(work, [](Vec a, Vec, Vec) { return log(a); });
    case Op::log1p: return each_unit(work, [](Vec a, Vec, Vec) { return log1p(a); });
    case Op::expm1: return each_unit(work, [](Vec a, Vec, Vec) { return expm1(a); });
    case Op::tanh: return each_unit(work, [](Vec a, Vec, Vec) { return tanh(a); });
    case Op::sigmoid: return each_unit(work, [](Vec a, Vec, Vec) { return sigmoid(a); });
    case Op::sin: return each_unit(work, [](Vec a, Vec, Vec) { return each_of<sine>(a); });
    case Op::cos: return each_unit(work, [](Vec a, Vec, Vec) { return each_of<cosine>(a); });
    case Op::erf: return each_unit(work, [](Vec a, Vec, Vec) { return erf(a); });
    case Op::relu: return each_unit(work, [=](Vec a, Vec, Vec) { return a < 0 ? zero : a; });
    case Op::atan: return each_unit(work, [](Vec a, Vec, Vec) { return each_of<arc_tangent>(a); });
    case Op::floor: return each_unit(work, [](Vec a, Vec, Vec) { return each_of<whole_below>(a); });
    case Op::add: return each_unit(work, [](Vec a, Vec b, Vec) { return a + b; });
    case Op::sub: return each_unit(work, [](Vec a, Vec b, Vec) { return a - b; });
    case Op::mul: return each_unit(work, [](Vec a, Vec b, Vec) { return a * b; });
    case Op::div: return each_unit(work, [](Vec a, Vec b, Vec) { return a / b; });
    case Op::max: return each_unit(work, [](Vec a, Vec b, Vec) { return maximum(a, b); });
    case Op::min: return each_unit(work, [](Vec a, Vec b, Vec) { return minimum(a, b); });
    case Op::gt: return each_unit(work, [=](Vec a, Vec b, Vec) { return a > b ? one : zero; });
    case Op::ge: return each_unit(work, [=](Vec a, Vec b, Vec) { return a >= b ? one : zero; });
    case Op::eq: return each_unit(work, [=](Vec a, Vec b, Vec) { return a == b ? one : zero; });
    case Op::ne: return each_unit(work, [=](Vec a, Vec b, Vec) { return a != b ? one : zero; });
    case Op::fma: return each_unit(work, [](Vec a, Vec b, Vec c) { return a * b + c; });
    case Op::fnma: return each_unit(work, [](Vec a, Vec b, Vec c) { return c - a * b; });
    case Op::select: return each_unit(work, [](Vec a, Vec b, Vec c) { return a != 0 ? b : c; });
    case Op::lerp: return each_unit(work, [](Vec a, Vec b, Vec c) { return a - c * a + c * b; });
    case Op::tanh_back: return each_unit(work, [](Vec a, Vec b, Vec) { return b * (1 - a * a); });
    case Op::sigmoid_back: return each_unit(work, [](Vec a, Vec b, Vec) { return b * a * (1 - a); });
    case Op::tanh_back_mul: return each_unit(work, [](Vec a, Vec b, Vec c) { return b * c * (1 - a * a); });
    case Op::sigmoid_back_mul: return each_unit(work, [](Vec a, Vec b, Vec c) { return b * c * a * (1 - a); });
    case Op::tanh_mul: return each_unit(work, [](Vec a, Vec b, Vec) { return tanh(a) * b; });
    case Op::tanh_fma: return each_unit(work, [](Vec a, Vec b, Vec c) { return tanh(a * b + c); });
    case Op::accumulate: return accumulate(work);
  }
}

// Some sequences, from `row` on, that take each step together, and where their operands lie at the current one. With rows of
// RAW, GRADIENT and CARRY is room for what products overwrite.
struct Group {
  const Scan& scan;
  long row, rows;
  Vectors places[program::SLOTS];
  float *rounded, *registers;
  Vectors ahead;  // KEPT of the next step, until it has been fetched from memory; null: there is none
};

static inline long row_of(long columns) {
  return (columns + 2 * program::ALIGNED - 1) / program::ALIGNED * program::ALIGNED;
}

static inline Vectors& place(Group& g, program::Place place, long index = 0) {
  return g.places[program::slot_of(place, index)];
}

static inline Vectors vectors(const Group& g, const program::Operand& o) {
  const Vectors& all = g.places[o.slot];
  return {all.at + o.column, all.row};
}

static inline bool is_over(const Scan& a, long t, long row) { return a.lengths && a.first + t >= a.lengths[row]; }

static inline bool are_over(const Group& g, long t) {
  for (long r = 0; r < g.rows; ++r)
    if (!is_over(g.scan, t, g.row + r)) return false;
  return true;
}

// Call each(first, rows) for runs of rows of the group whose sequence is not over.
template <class Each>
static inline void each_run(const Group& g, long t, const Each& each) {
  if (!g.scan.lengths) return each(0, g.rows);
  for (long first = 0, end; first < g.rows; first = end + 1) {
    for (end = first; end < g.rows && !is_over(g.scan, t, g.row + end); ++end) continue;
    if (end > first) each(first, end - first);
  }
}

static inline long rows_at_once(const program::Stage& s) {
  const long most = NEAREST / (s.vectors * rounded(s.width));
  return most < 1 ? 1 : (most > GROUP ? GROUP : most);
}

static long registers(const program::Steps& steps) {
  long most = 0;
  for (const program::Phase& phase : steps.phases) {
    if (phase.kind != program::Phase::Kind::stage) continue;
    const long floats = rows_at_once(phase.stage) * phase.stage.registers * rounded(phase.stage.width);
    most = floats > most ? floats : most;
  }
  return most;
}

// While a stage computes, as the next one reads each of its operands alone, with nothing to do until the numbers come.
static void fetch(const float* from, long floats) {
  constexpr long LINE = 64 / sizeof(float), TO_SECOND_CACHE = 2;
  for (long i = 0; i < floats; i += LINE) __builtin_prefetch(from + i, 0, TO_SECOND_CACHE);
}

static void stage(const Group& g, const program::Stage& s, long first, long end) {
  const long most = rows_at_once(s), row = rounded(s.width);
  each_part(first, end, most, [&](long from, long rows) {
    const auto operand = [&](const program::Operand& o) {
      if (o.place == program::Place::local) return Vectors{g.registers + o.index * most * row, row};
      const Vectors& place = g.places[o.slot];
      return Vectors{place.at + from * place.row + o.column, place.row};
    };
    if (g.ahead.at) fetch(g.ahead.at + from * g.ahead.row, rows * g.ahead.row);
    for (const program::Instruction& i : s.instructions)
      carry_out(i.op, {operand(i.to), operand(i.a), operand(i.b), operand(i.c), rows, s.width, i.whole});
  });
}

// The left sides' rows as the products read them.
static inline void take_lefts(const Group& g, const program::Product& p, Left* lefts) {
  for (long i = 0; i < p.lefts.count; ++i) {
    const program::Left& left = p.lefts.items[i];
    const Vectors at = vectors(g, left.at);
    float* const room = g.rounded + left.room * whole_rows(g.rows);
    lefts[i] = PAIR > 1 && left.rounded ? Left{room, left_room(left.factors), places(left.factors)}
                                        : as_left(at.at, at.row, left.factors, g.rows, room);
  }
}

static void multiply_out(const Group& g, const program::Product& p) {
  const Scan& a = g.scan;
  Left lefts[program::MOST_LEFTS];
  take_lefts(g, p, lefts);
  const Vectors to = vectors(g, p.to);
  product(to.at, to.row, p.has_room, p.bias < 0 ? nullptr : a.biases + p.bias, 0, g.rows, p.columns, a.packed[p.number],
          a.panel, lefts, p.lefts.count);
}

static void reduce(const Group& g, const program::Reduction& reduction) {
  const Vectors to = vectors(g, reduction.to), from = vectors(g, reduction.at);
  for (long r = 0; r < g.rows; ++r) {
    const float* at = from.at + r * from.row;
    const long rest = reduction.count % WIDTH, full = reduction.count - rest;
    const Vec first = reduction.maximum ? -infinity() : Vec{};
    Vec values = first;
    for (long i = 0; i < full; i += WIDTH)
      values = reduction.maximum ? maximum(values, load(at + i)) : values + load(at + i);
    float result = first[0];
    const auto take = [&](float value) {
      result = reduction.maximum ? maximum(all(result), all(value))[0] : result + value;
    };
    for (long i = 0; i < WIDTH; ++i) take(values[i]);
    for (long i = full; i < reduction.count; ++i) take(at[i]);
    to.at[r * to.row] = result;
  }
}

static void carry_out(Group& g, long t) {
  for (const program::Phase& phase : g.scan.steps->phases) {
    switch (phase.kind) {
      case program::Phase::Kind::stage:
        each_run(g, t, [&](long first, long rows) { stage(g, phase.stage, first, first + rows); });
        g.ahead.at = nullptr;
        break;
      case program::Phase::Kind::product: multiply_out(g, phase.product); break;
      case program::Phase::Kind::reduction: reduce(g, phase.reduction); break;
    }
  }
}

static void copy_row(const Vectors& to, const Vectors& from, long r, long n) {
  std::memcpy(to.at + r * to.row, from.at + r * from.row, n * sizeof(float));
}

static void clear_row(const Vectors& to, long r, long n) { std::memset(to.at + r * to.row, 0, n * sizeof(float)); }

// Place what step t reads and, in the forward pass, writes; step `next` comes after it, if it is one.
static void take_step(Group& g, long t, long next) {
  const Scan& a = g.scan;
  const program::Program& p = *a.program;
  const long before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
  place(g, program::Place::x) = {const_cast<float*>(a.x) + t * a.x_time + g.row * a.x_batch, a.x_batch};
  const auto kept = [&](long t) {
    return Vectors{a.kept && t >= 0 && t < a.time ? a.kept + (t * a.batch + g.row) * p.kept : nullptr, p.kept};
  };
  place(g, program::Place::kept) = kept(t);
  g.ahead = kept(next);
  for (long i = 0; i < p.widths.count; ++i) {
    const long width = p.widths.items[i];
    const auto state = [&](long index) {
      return Vectors{a.states[i] + (index % a.slots * a.batch + g.row) * width, width};
    };
    place(g, program::Place::before, i) = state(before);
    place(g, program::Place::after, i) = state(after);
  }
}

// A group with its scratch memory, behind which `scratch` then points.
static Group group_of(const Scan& a, long row, long rows, long room, float*& scratch) {
  Group g{a, row, rows, {}, nullptr, nullptr, {}};
  const long whole = whole_rows(rows), raw = row_of(a.steps->raw);
  place(g, program::Place::raw) = {scratch, raw};
  place(g, program::Place::unit) = {const_cast<float*>(a.unit), 0};
  g.rounded = scratch + whole * raw;
  g.registers = g.rounded + (PAIR > 1 ? whole * room : 0);
  scratch = g.registers + registers(*a.steps);
  return g;
}

static long group_scratch(const Scan& a, long room) {
  return whole_rows(group(a.batch)) * (row_of(a.steps->raw) + (PAIR > 1 ? room : 0)) + registers(*a.steps) + WIDTH;
}

static long forward_scratch(const Forward& a) { return group_scratch(a, a.steps->room); }

static void forward_group(const Forward& a, long row, long rows, float* scratch) {
  const program::Program& p = *a.program;
  Group g = group_of(a, row, rows, a.steps->room, scratch);
  for (long s = 0; s < a.time; ++s) {
    const long t = a.reverse ? a.time - 1 - s : s;
    take_step(g, t, a.reverse ? t - 1 : t + 1);
    if (!are_over(g, t)) carry_out(g, t);
    const Vectors x = place(g, program::Place::x);
    const Vectors copies{a.copies ? a.copies + (t * a.batch + row) * p.inputs : nullptr, p.inputs};
    for (long r = 0; r < rows; ++r) {
      const bool over = is_over(a, t, row + r);
      if (copies.at && over) clear_row(copies, r, p.inputs);
      if (copies.at && !over) copy_row(copies, x, r, p.inputs);
      if (!over) continue;
      if (a.kept) clear_row(place(g, program::Place::kept), r, p.kept);
      for (long i = 0; i < p.widths.count; ++i)
        copy_row(place(g, program::Place::after, i), place(g, program::Place::before, i), r, p.widths.items[i]);
    }
  }
}

static long backward_room(const Backward& a) {
  return a.steps->room > a.program->past_room ? a.steps->room : a.program->past_room;
}

static long backward_scratch(const Backward& a) {
  long gradients = 0;
  for (const long width : a.program->widths) gradients += 2 * row_of(width);
  return group_scratch(a, backward_room(a)) + whole_rows(group(a.batch)) * gradients;
}

// GRADIENT of part i before the step that D is of, or after the stretch, without one; to `out`, or over its columns.
static void go_past(const Group& g, const Backward& a, bool has_step, long i, const Vectors& out, bool has_room) {
  const Vectors& carry = g.places[program::slot_of(program::Place::carry, i)];
  const program::List<program::Product>& products = a.program->past.items[i];
  for (const program::Product& p : products) {
    Left lefts[program::MOST_LEFTS];
    if (has_step) take_lefts(g, p, lefts);
    product(out.at + p.to.column, out.row, has_room, carry.at + p.to.column, carry.row, g.rows, p.columns,
            a.packed_past[p.number], a.panel, lefts, has_step ? p.lefts.count : 0);
  }
}

static void add_outputs(const Vectors& gradient, const float* dy, long n) {
  for (long u = 0; u < n; u += WIDTH) store(gradient.at + u, load(gradient.at + u) + load(dy + u, n - u), WIDTH);
}

// From the gradients by the state after a step in CARRY, or by what follows from D of the step after it, to D of the step.
static void backward_step(Group& g, const Backward& a, long t, bool has_step) {
  using program::Place;
  const program::Program& p = *a.program;
  const long parts = p.widths.count;
  take_step(g, t, a.reverse ? t + 1 : t - 1);
  for (long i = 0; i < parts; ++i) {
    Vectors &gradient = place(g, Place::gradient, i), &carry = place(g, Place::carry, i);
    if (p.past.items[i].count) {
      go_past(g, a, has_step, i, gradient, true);
    } else {
      const Vectors free = gradient;
      gradient = carry, carry = free;
    }
  }
  const Vectors d{a.d + (t * a.rows + g.row - a.first_row) * p.d, p.d};
  place(g, Place::d) = d;
  if (!are_over(g, t)) {
    for (long i = 0; i < parts; ++i)
      if (p.cleared.items[i]) {
        const Vectors& carry = place(g, Place::carry, i);
        std::memset(carry.at, 0, g.rows * carry.row * sizeof(float));
      }
    const Vectors& gradient = place(g, Place::gradient);
    if (a.dy)
      each_run(g, t, [&](long first, long rows) {
        for (long r = first; r < first + rows; ++r)
          add_outputs({gradient.at + r * gradient.row, 0}, a.dy + (g.row + r) * a.dy_batch + t * a.dy_time,
                      p.widths.items[0]);
      });
    carry_out(g, t);
  }
  for (long r = 0; r < g.rows; ++r) {
    if (!is_over(a, t, g.row + r)) continue;
    clear_row(d, r, p.d);
    for (long i = 0; i < parts; ++i)
      copy_row(place(g, Place::carry, i), place(g, Place::gradient, i), r, p.widths.items[i]);
  }
}

static void backward_group(const Backward& a, long row, long rows, float* scratch) {
  using program::Place;
  const program::Program& p = *a.program;
  const long parts = p.widths.count;
  Group g = group_of(a, row, rows, backward_room(a), scratch);
  place(g, Place::total) = {a.total, 0};
  for (long i = 0; i < parts; ++i) {
    const long width = p.widths.items[i], whole = row_of(width);
    const long floats = whole_rows(rows) * whole;
    place(g, Place::gradient, i) = {scratch, whole};
    place(g, Place::carry, i) = {scratch + floats, whole};
    std::memset(scratch, 0, 2 * floats * sizeof(float));
    scratch += 2 * floats;
    for (long r = 0; r < rows; ++r) copy_row(place(g, Place::carry, i), {a.ends[i] + row * width, width}, r, width);
  }
  for (long s = a.time - 1; s >= 0; --s) backward_step(g, a, a.reverse ? a.time - 1 - s : s, s < a.time - 1);
  for (long i = 0; i < parts && a.wants_before; ++i) {
    const long width = p.widths.items[i];
    const Vectors end{a.ends[i] + row * width, width};
    go_past(g, a, true, i, end, false);
    if (p.past.items[i].count) continue;
    for (long r = 0; r < rows; ++r) copy_row(end, place(g, Place::carry, i), r, width);
  }
}

static void forward(const Forward& a, long begin, long end, float* scratch) {
  const Tiles tiles;
  each_part(begin, end, GROUP, [&](long row, long rows) { forward_group(a, row, rows, scratch); });
}

static void backward(const Backward& a, long begin, long end, float* scratch) {
  const Tiles tiles;
  each_part(begin, end, GROUP, [&](long row, long rows) { backward_group(a, row, rows, scratch); });
}

}  // namespace of the instruction set
}  // namespace unroll
