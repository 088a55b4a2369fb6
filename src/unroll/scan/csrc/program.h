// A recurrence as plain data, which the machine (machine.h) carries out. unroll/compiler/program.py says what each field means;
// what stands here in addition is worked out when a program is read (reading.cpp).
//
// The kernels include it, so nothing here has a function that is not static: the linker might pick one instruction set's
// version for all.
#pragma once

namespace unroll {
namespace program {

constexpr long ALIGNED = 16;
constexpr long MOST_PARTS = 16, MOST_LEFTS = 16;  // of the state; of a product

template <class T>
struct List {
  const T* items;
  long count;
};

template <class T>
static inline const T* begin(const List<T>& list) {
  return list.items;
}

template <class T>
static inline const T* end(const List<T>& list) {
  return list.items + list.count;
}

enum class Place { x, before, after, kept, raw, unit, local, gradient, carry, d, total };

enum class Op {
  copy = 0,
  expand,
  neg,
  reciprocal,
  sqrt,
  abs,
  sign,
  exp,
  log,
  log1p,
  expm1,
  tanh,
  sigmoid,
  sin,
  cos,
  erf,
  relu,
  atan,
  floor,
  add = 20,
  sub,
  mul,
  div,
  max,
  min,
  gt,
  ge,
  eq,
  ne,
  fma = 40,
  fnma,
  select,
  lerp,
  tanh_back,
  sigmoid_back,
  tanh_back_mul,
  sigmoid_back_mul,
  tanh_mul,
  tanh_fma,
  accumulate = 60
};

struct Operand {
  Place place;
  long index, column;
  long slot;  // where the machine looks its memory up: slot_of(place, index)
};

// Four of the places have one for each part of the state.
constexpr long SLOTS = 7 + 4 * MOST_PARTS;

static inline long slot_of(Place place, long index) {
  switch (place) {
    case Place::x: return 0;
    case Place::kept: return 1;
    case Place::raw: return 2;
    case Place::unit: return 3;
    case Place::local: return 4;
    case Place::d: return 5;
    case Place::total: return 6;
    case Place::before: return 7 + index;
    case Place::after: return 7 + MOST_PARTS + index;
    case Place::gradient: return 7 + 2 * MOST_PARTS + index;
    case Place::carry: return 7 + 3 * MOST_PARTS + index;
  }
  return 0;
}

struct Instruction {
  Op op;
  bool whole;           // there is room behind `to` for a whole register
  Operand to, a, b, c;  // those that the operation does not take repeat `a`
};

struct Stage {
  long width, registers;
  List<Instruction> instructions;
  long vectors;  // of a row, that the instructions read or write
};

struct Block {
  long columns, tensor, offset, column, factor;
};

struct Left {
  Operand at;
  long factors;
  List<Block> blocks;
  bool rounded;  // already, for an earlier product that reads the same numbers
  long room;     // floats per row before those of the rounded numbers
};

struct Product {
  Operand to;
  long columns, bias;
  List<Left> lefts;
  bool has_room;  // behind each row of `to`
  long number;    // counts the products of its list
};

struct Reduction {
  Operand to;
  bool maximum;
  Operand at;
  long count;
};

struct Phase {
  enum class Kind { stage, product, reduction } kind;
  Stage stage;
  Product product;
  Reduction reduction;
};

struct Gradient {
  long d, columns;
  Operand at;
  long factors;
  List<Block> blocks;
};

struct Term {
  long to, count, tensor, offset, stride;
};

struct Fill {
  long to, count;
  float value;
};

struct Steps {
  long raw;
  List<Phase> phases;
  long room;  // floats per row for rounded left sides
};

struct Program {
  long inputs;
  List<long> widths;
  long kept, products, d, units;
  List<long> sizes;
  List<Term> biases, unit_terms;
  List<Fill> fills;
  Steps infer, forward, backward;
  List<List<Product>> past;
  List<Product> dx;
  List<Gradient> gradients;
  long past_room;      // as in Steps
  List<char> cleared;  // for each part: CARRY has to be cleared, as a step does not write all of it
  bool accumulates;    // to TOTAL
};

}  // namespace program
}  // namespace unroll
