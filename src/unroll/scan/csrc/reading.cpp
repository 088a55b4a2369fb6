#include "reading.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace unroll {

using namespace program;

namespace {

using Fields = std::vector<Nested>;

void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("no program for the kernels: ") + what);
}

const Fields& fields(const Nested& from, std::size_t count, const char* what) {
  check(from.is_list && from.items.size() == count, what);
  return from.items;
}

long number(const Nested& from) {
  constexpr double MOST = 1L << 30;
  check(!from.is_list, "a list instead of a number");
  check(-MOST < from.number && from.number < MOST, "a number is too large");
  const long value = static_cast<long>(from.number);
  check(value == from.number, "a number is not a whole one");
  return value;
}

long size(const Nested& from) {
  const long value = number(from);
  check(value >= 0, "a size is negative");
  return value;
}

// Columns that have been written, of one part of the state.
class Covered {
 public:
  explicit Covered(long columns) : columns_(columns) {}

  void add(long first, long count) { std::fill_n(columns_.begin() + first, count, true); }

  bool has(long first, long count) const {
    return std::all_of(columns_.begin() + first, columns_.begin() + first + count, [](bool there) { return there; });
  }

  bool has_all() const { return has(0, static_cast<long>(columns_.size())); }

 private:
  std::vector<bool> columns_;
};

// Left sides that have been rounded, while their numbers do not change.
class Rounded {
 public:
  void find(Left& left) {
    for (const Left& before : all_)
      if (before.at.slot == left.at.slot && before.at.column == left.at.column && before.factors == left.factors) {
        left.rounded = true;
        left.room = before.room;
        return;
      }
    left.rounded = false;
    left.room = room_;
    room_ += (left.factors + 2 * ALIGNED - 1) / (2 * ALIGNED) * ALIGNED + ALIGNED;  // two in a float, see as_left()
    all_.push_back(left);
  }

  void forget(const Operand& to, long columns) {
    const auto changes = [&](const Left& left) {
      return left.at.slot == to.slot && left.at.column < to.column + columns &&
             to.column < left.at.column + left.factors;
    };
    all_.erase(std::remove_if(all_.begin(), all_.end(), changes), all_.end());
  }

  long room() const { return room_; }

 private:
  std::vector<Left> all_;
  long room_ = 0;
};

enum class Pass { infer, forward, backward };

}  // namespace

class Reader {
 public:
  explicit Reader(ReadProgram& to) : p_(to) {}

  void read(const Nested& from) {
    const Fields& all = fields(from, 16, "a program has 16 fields");
    p_.inputs = size(all[0]);
    p_.widths = list<long>(all[1], size);
    check(p_.widths.count >= 1 && p_.widths.count <= MOST_PARTS, "the number of parts of the state");
    for (const long width : p_.widths) check(width > 0, "a part of the state has no units");
    p_.kept = size(all[2]), p_.products = size(all[3]), p_.d = size(all[4]), p_.units = size(all[5]);
    check(p_.d == p_.products || p_.d == p_.products + p_.inputs, "the columns of D");
    p_.sizes = list<long>(all[6], size);
    p_.biases = terms(all[7], p_.products);
    p_.unit_terms = terms(all[8], p_.units);
    p_.fills = list<Fill>(all[9], [&](const Nested& from) {
      const Fields& f = fields(from, 3, "a fill has 3 fields");
      const Fill fill{size(f[0]), size(f[1]), static_cast<float>(f[2].number)};
      check(!f[2].is_list, "a list instead of a number");
      check(fill.to + fill.count <= p_.units, "a fill is beyond the end");
      return fill;
    });
    p_.infer = steps(all[10], Pass::infer);
    p_.forward = steps(all[11], Pass::forward);
    p_.accumulates = false;
    p_.backward = steps(all[12], Pass::backward);
    p_.cleared = clears();
    long products = 0, part = 0;
    Rounded rounded;
    p_.past = list<List<Product>>(all[13], [&](const Nested& from) {
      check(part < p_.widths.count, "there are more lists of past products than parts of the state");
      const List<Product> all_of_part = of_d(from, Place::gradient, part, p_.widths.items[part], products, rounded);
      ++part;
      return all_of_part;
    });
    check(part == p_.widths.count, "there are fewer lists of past products than parts of the state");
    p_.past_room = rounded.room();
    products = 0;
    p_.dx = of_d(all[14], Place::x, 0, p_.inputs, products, rounded);
    p_.gradients = list<Gradient>(all[15], [&](const Nested& from) { return gradient(from); });
  }

 private:
  template <class T>
  List<T> keep(std::vector<T> items) {
    const auto kept = std::make_shared<std::vector<T>>(std::move(items));
    p_.lists_.push_back(kept);
    return {kept->data(), static_cast<long>(kept->size())};
  }

  template <class T, class Read>
  List<T> list(const Nested& from, const Read& read) {
    check(from.is_list, "a number instead of a list");
    std::vector<T> items;
    for (const Nested& item : from.items) items.push_back(read(item));
    return keep(std::move(items));
  }

  // The strided numbers offset + i a + j b of a tensor, for i and j below two counts.
  void check_tensor(long tensor, long offset, long counts_a, long a, long counts_b, long b) const {
    check(tensor >= 0 && tensor < p_.sizes.count, "there is no such tensor");
    if (counts_a == 0 || counts_b == 0) return;
    const long to_a = (counts_a - 1) * a, to_b = (counts_b - 1) * b;
    check(offset + std::min(0L, to_a) + std::min(0L, to_b) >= 0 &&
              offset + std::max(0L, to_a) + std::max(0L, to_b) < p_.sizes.items[tensor],
          "weights are beyond the end of their tensor");
  }

  List<Term> terms(const Nested& from, long columns) {
    return list<Term>(from, [&](const Nested& item) {
      const Fields& f = fields(item, 5, "a term has 5 fields");
      const Term term{size(f[0]), size(f[1]), number(f[2]), number(f[3]), number(f[4])};
      check(term.to + term.count <= columns, "a term is beyond the end");
      check_tensor(term.tensor, term.offset, term.count, term.stride, 1, 0);
      return term;
    });
  }

  List<Block> blocks(const Nested& from, long columns, long factors) {
    long there = 0;
    const List<Block> all = list<Block>(from, [&](const Nested& item) {
      const Fields& f = fields(item, 5, "a block has 5 fields");
      const Block block{size(f[0]), number(f[1]), number(f[2]), number(f[3]), number(f[4])};
      check_tensor(block.tensor, block.offset, block.columns, block.column, factors, block.factor);
      there += block.columns;
      return block;
    });
    check(there == columns, "the blocks of a matrix have another number of columns than the matrix");
    return all;
  }

  long columns_of(const Operand& o, long raw) const {
    switch (o.place) {
      case Place::x: return p_.inputs;
      case Place::kept: return p_.kept;
      case Place::raw: return raw;
      case Place::unit:
      case Place::total: return p_.units;
      case Place::d: return p_.d;
      case Place::local: return 0;
      default: return p_.widths.items[o.index];
    }
  }

  // An operand of `columns` numbers; registers: of its stage, or 0 outside of one.
  Operand operand(const Nested& from, long columns, long raw, long registers) const {
    const Fields& f = fields(from, 3, "an operand has 3 fields");
    const long place = number(f[0]);
    check(place >= 0 && place <= static_cast<long>(Place::total), "there is no such place");
    Operand o{static_cast<Place>(place), size(f[1]), size(f[2]), 0};
    if (o.place == Place::local) {
      check(o.index < registers && o.column == 0, "there is no such register");
      return o;
    }
    const bool of_part =
        o.place == Place::before || o.place == Place::after || o.place == Place::gradient || o.place == Place::carry;
    check(o.index < (of_part ? p_.widths.count : 1), "there is no such part of the state");
    check(o.column + columns <= columns_of(o, raw), "an operand is beyond the end of its place");
    o.slot = slot_of(o.place, o.index);
    return o;
  }

  static bool may_read(Pass pass, Place place) {
    if (place == Place::gradient || place == Place::carry || place == Place::d) return pass == Pass::backward;
    return place != Place::total && (place != Place::kept || pass != Pass::infer);
  }

  static bool may_write(Pass pass, Place place) {
    switch (place) {
      case Place::raw:
      case Place::local: return true;
      case Place::after: return pass != Pass::backward;
      case Place::kept: return pass == Pass::forward;
      case Place::gradient:
      case Place::carry:
      case Place::d: return pass == Pass::backward;
      default: return false;
    }
  }

  // Note that numbers of CARRY are read or written; those that are read before all have been written must be zero.
  void note_read(const Operand& o, long columns) {
    if (o.place == Place::carry && !carries_[o.index].has(o.column, columns)) reads_zeros_[o.index] = true;
  }

  void note_write(const Operand& o, long columns, Rounded& rounded) {
    if (o.place == Place::carry) carries_[o.index].add(o.column, columns);
    if (o.place != Place::local) rounded.forget(o, columns);
  }

  List<char> clears() {
    std::vector<char> all;
    for (std::size_t i = 0; i < carries_.size(); ++i) all.push_back(reads_zeros_[i] || !carries_[i].has_all());
    return keep(std::move(all));
  }

  static bool is_known(long op) {
    const auto within = [op](Op first, Op last) {
      return op >= static_cast<long>(first) && op <= static_cast<long>(last);
    };
    return within(Op::copy, Op::floor) || within(Op::add, Op::ne) || within(Op::fma, Op::tanh_fma) ||
           within(Op::accumulate, Op::accumulate);
  }

  static int arguments(Op op) {
    if (op < Op::add || op == Op::accumulate) return 1;
    return op < Op::fma || op == Op::tanh_back || op == Op::sigmoid_back || op == Op::tanh_mul ? 2 : 3;
  }

  Instruction instruction(const Nested& from, long width, long registers, long raw, Pass pass, Rounded& rounded) {
    const Fields& f = fields(from, 5, "an instruction has 5 fields");
    check(is_known(number(f[0])), "there is no such operation");
    Instruction i{};
    i.op = static_cast<Op>(number(f[0]));
    const auto argument = [&](const Nested& item) {
      const long columns = i.op == Op::expand ? 1 : width;
      const Operand o = operand(item, columns, raw, registers);
      check(may_read(pass, o.place), "an instruction reads what is not there");
      note_read(o, columns);
      return o;
    };
    const int count = arguments(i.op);
    i.a = argument(f[2]);
    i.b = count > 1 ? argument(f[3]) : i.a;
    i.c = count > 2 ? argument(f[4]) : i.a;
    i.to = operand(f[1], width, raw, registers);
    if (i.op == Op::accumulate) {
      check(i.to.place == Place::total && pass == Pass::backward, "sums over rows are for TOTAL, in the backward pass");
      p_.accumulates = true;
    } else {
      check(may_write(pass, i.to.place), "an instruction writes where it must not");
    }
    const bool is_part = i.to.place == Place::gradient || i.to.place == Place::carry;
    i.whole = i.to.place == Place::local || (i.to.place == Place::raw && i.to.column % ALIGNED == 0) ||
              (is_part && i.to.column + width == p_.widths.items[i.to.index]);
    note_write(i.to, width, rounded);
    return i;
  }

  Stage stage(const Fields& f, long raw, Pass pass, Rounded& rounded) {
    Stage s{size(f[0]), size(f[1]), {}, 0};
    check(s.width > 0, "a stage has no units");
    s.instructions = list<Instruction>(
        f[2], [&](const Nested& from) { return instruction(from, s.width, s.registers, raw, pass, rounded); });
    s.vectors = vectors(s);
    return s;
  }

  static long vectors(const Stage& s) {
    std::set<std::tuple<Place, long, long>> all;
    for (const Instruction& i : s.instructions)
      for (const Operand& o : {i.to, i.a, i.b, i.c})
        if (o.place != Place::unit && o.place != Place::total) all.insert({o.place, o.index, o.column});
    return std::max(1L, static_cast<long>(all.size()));
  }

  List<Left> lefts(const Nested& from, long columns, long raw, Rounded& rounded) {
    const List<Left> all = list<Left>(from, [&](const Nested& item) {
      const Fields& f = fields(item, 3, "a left side has 3 fields");
      Left left{};
      left.factors = size(f[1]);
      left.at = operand(f[0], left.factors, raw, 0);
      left.blocks = blocks(f[2], columns, left.factors);
      rounded.find(left);
      return left;
    });
    check(all.count <= MOST_LEFTS, "a product has too many left sides");
    return all;
  }

  Product product(const Nested& from, long raw, long number_of, Rounded& rounded) {
    const Fields& f = fields(from, 4, "a product has 4 fields");
    Product p{};
    p.columns = size(f[1]);
    check(p.columns > 0, "a product has no columns");
    p.to = operand(f[0], p.columns, raw, 0);
    p.bias = number(f[2]);
    check(p.bias >= -1 && (p.bias < 0 || p.bias + p.columns <= p_.products), "a bias is beyond the end");
    p.lefts = lefts(f[3], p.columns, raw, rounded);
    p.has_room = p.to.place == Place::raw || p.to.place == Place::carry || p.to.place == Place::gradient;
    p.number = number_of;
    return p;
  }

  Phase phase(const Nested& from, long raw, Pass pass, long& products, Rounded& rounded) {
    const Fields& f = from.items;
    Phase phase{};
    if (f.size() == 3) {
      phase.kind = Phase::Kind::stage;
      phase.stage = stage(f, raw, pass, rounded);
      return phase;
    }
    check(f.size() == 4, "a phase is neither a stage nor a product nor a reduction");
    if (f[3].is_list) {
      phase.kind = Phase::Kind::product;
      Product& p = phase.product = product(from, raw, products++, rounded);
      for (const Left& left : p.lefts) {
        check(may_read(pass, left.at.place) && left.at.place != Place::unit, "a product reads what is not there");
        note_read(left.at, left.factors);
      }
      check(may_write(pass, p.to.place) && p.to.place != Place::gradient, "a product writes where it must not");
      const long spread = p.has_room ? ALIGNED - 1 : 0;
      note_write(p.to, p.columns, rounded);
      rounded.forget(p.to, p.columns + spread);
      return phase;
    }
    phase.kind = Phase::Kind::reduction;
    Reduction& r = phase.reduction;
    r.to = operand(f[0], 1, raw, 0);
    r.maximum = number(f[1]) != 0;
    r.count = size(f[3]);
    r.at = operand(f[2], r.count, raw, 0);
    check(r.count > 0 && r.to.place == Place::raw && may_read(pass, r.at.place),
          "a reduction from or to another place");
    note_read(r.at, r.count);
    note_write(r.to, 1, rounded);
    return phase;
  }

  Steps steps(const Nested& from, Pass pass) {
    const Fields& f = fields(from, 2, "the steps of a pass have 2 fields");
    carries_.clear();
    for (const long width : p_.widths) carries_.emplace_back(width);
    reads_zeros_.assign(p_.widths.count, false);
    Steps s{};
    s.raw = size(f[0]);
    Rounded rounded;
    long products = 0;
    s.phases = list<Phase>(f[1], [&](const Nested& item) { return phase(item, s.raw, pass, products, rounded); });
    s.room = rounded.room();
    return s;
  }

  // Products of D that give all `columns` of a place, in order; or none.
  List<Product> of_d(const Nested& from, Place place, long index, long columns, long& number_of, Rounded& rounded) {
    long there = 0;
    const List<Product> all = list<Product>(from, [&](const Nested& item) {
      const Product p = product(item, 0, number_of++, rounded);
      check(p.to.place == place && p.to.index == index && p.to.column == there,
            "products of D to another place, or not in order");
      check(p.bias < 0, "products of D have no bias");
      for (const Left& left : p.lefts) check(left.at.place == Place::d, "a product of another place than D");
      there += p.columns;
      return p;
    });
    check(there == columns || all.count == 0, "products of D that do not give all columns");
    return all;
  }

  Gradient gradient(const Nested& from) {
    const Fields& f = fields(from, 5, "a gradient has 5 fields");
    Gradient g{size(f[0]), size(f[1]), {}, size(f[3]), {}};
    check(g.d + g.columns <= p_.products, "a gradient is beyond the end of D");
    g.at = operand(f[2], g.factors, 0, 0);
    const Place at = g.at.place;
    check(at == Place::x || at == Place::before || at == Place::after || at == Place::kept,
          "a gradient needs numbers that are kept");
    g.blocks = blocks(f[4], g.columns, g.factors);
    return g;
  }

  ReadProgram& p_;
  std::vector<Covered> carries_;
  std::vector<bool> reads_zeros_;
};

ReadProgram::ReadProgram(const Nested& fields) : program::Program{} { Reader(*this).read(fields); }

}  // namespace unroll
