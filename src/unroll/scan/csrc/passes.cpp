#include "passes.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "memory.h"
#include "pack.h"
#include "threads.h"

namespace unroll {
namespace {

using program::Block;
using program::List;
using program::Program;

long panel(const Layout& a) { return a.batch == 1 ? a.kernels->wide : a.kernels->panel; }

// The packed weights of some products, by their numbers.
class Packed {
 public:
  void pack(const Kernels& kernels, long panel, const program::Product& p, const Tensors& tensors) {
    const std::size_t number = p.number;
    if (numbers_.size() <= number) numbers_.resize(number + 1);
    if (at_.size() <= number) at_.resize(number + 1);
    std::vector<Matrix> matrices;
    gathered_.clear();
    for (const program::Left& left : p.lefts) matrices.push_back(matrix(left, p.columns, tensors));
    unroll::pack(numbers_[number], kernels, panel, p.columns, matrices);
    at_[number] = numbers_[number].data();
  }

  const float* const* all() const { return at_.data(); }

 private:
  // pack() takes matrices with a side of stride 1; others are first copied.
  Matrix matrix(const program::Left& left, long columns, const Tensors& tensors) {
    if (left.blocks.count == 1) {
      const Block& only = left.blocks.items[0];
      if (only.column == 1 || only.factor == 1 || columns == 1)
        return {tensors[only.tensor] + only.offset, only.column, only.factor, left.factors};
    }
    gathered_.emplace_back(columns * left.factors);
    float* to = gathered_.back().data();
    for (const Block& block : left.blocks)
      for (long c = 0; c < block.columns; ++c, to += left.factors)
        for (long i = 0; i < left.factors; ++i)
          to[i] = tensors[block.tensor][block.offset + c * block.column + i * block.factor];
    return {gathered_.back().data(), left.factors, 1, left.factors};
  }

  std::vector<Numbers> numbers_;
  std::vector<const float*> at_;
  std::deque<Numbers> gathered_;
};

void pack_steps(Packed& packed, const Layout& a, const program::Steps& steps, const Tensors& tensors) {
  for (const program::Phase& phase : steps.phases)
    if (phase.kind == program::Phase::Kind::product) packed.pack(*a.kernels, panel(a), phase.product, tensors);
}

void add_terms(Numbers& to, const List<program::Term>& terms, const Tensors& tensors) {
  for (const program::Term& term : terms)
    for (long i = 0; i < term.count; ++i) to[term.to + i] += tensors[term.tensor][term.offset + i * term.stride];
}

// Parameters and constants, as the stages and products of a scan read them.
struct Shared {
  Numbers unit, biases;
  Packed packed;

  void take(const Layout& a, const program::Steps& steps, const Tensors& tensors) {
    const Program& p = *a.program;
    unit.assign(p.units + program::ALIGNED, 0.0f);
    for (const program::Fill& fill : p.fills) std::fill_n(unit.begin() + fill.to, fill.count, fill.value);
    add_terms(unit, p.unit_terms, tensors);
    biases.assign(p.products + a.kernels->width * panel(a), 0.0f);
    add_terms(biases, p.biases, tensors);
    pack_steps(packed, a, steps, tensors);
  }
};

Scan scan(const Layout& a, const program::Steps& steps, const Shared& shared) {
  Scan s{};
  s.program = a.program, s.steps = &steps;
  s.reverse = a.reverse, s.batch = a.batch, s.time = a.time, s.lengths = a.lengths;
  s.unit = shared.unit.data(), s.biases = shared.biases.data();
  s.packed = shared.packed.all(), s.panel = panel(a);
  return s;
}

// How threads share the backward pass. Each part of the batch goes through all time steps in one thread and sums its own
// gradients, so no core reads what another one writes until the end. The number of parts does not depend on the threads, so
// neither do the sums. If the sums of many weights would fill the cache, columns are shared instead, stretch by stretch.
constexpr long MOST_SHARES = 8, MOST_WEIGHTS = 1L << 19;
constexpr long OWN = 1L << 16, SHARED = 1L << 21;  // floats of D at once, for a part and for the whole batch;
constexpr long FEWEST = 128;                       // fewest rows, as all sums are read and written each time

long shares(const Layout& a) {
  const long count = (a.batch + a.kernels->share - 1) / a.kernels->share;
  return std::min(std::max(count, std::min(a.batch, 2L)), MOST_SHARES);
}

bool is_wanted(const List<Block>& blocks, const Parts& grads) {
  return std::any_of(program::begin(blocks), program::end(blocks),
                     [&](const Block& block) { return grads[block.tensor]; });
}

bool is_wanted(const List<program::Term>& terms, const Parts& grads) {
  return std::any_of(begin(terms), end(terms), [&](const program::Term& term) { return grads[term.tensor]; });
}

// Where the sums of gradients lie in a part's own memory: those of each matrix that is wanted (columns, factors), of the
// biases, and of TOTAL, of which there are several where threads share a part.
struct Sums {
  std::vector<const program::Gradient*> matrices;
  std::vector<long> at;  // of each matrix
  long biases, totals, total, all;
  bool wants_biases;

  Sums(const Program& p, const Parts& grads, long totals_of_part) : biases(0) {
    for (const program::Gradient& gradient : p.gradients)
      if (is_wanted(gradient.blocks, grads)) {
        matrices.push_back(&gradient);
        at.push_back(biases);
        biases += gradient.columns * gradient.factors;
      }
    wants_biases = is_wanted(p.biases, grads);
    totals = (biases + p.products + program::ALIGNED - 1) / program::ALIGNED * program::ALIGNED;
    total = p.units + program::ALIGNED;
    all = totals + total * totals_of_part;
  }
};

// The arguments of backward(), and what is made of them.
struct Back {
  const Layout& a;
  const Scan& scan;
  const Parts& states;
  float* kept;
  const float *steps, *dy;
  long dy_batch, dy_time;
  const Parts& ends;
  bool wants_initial;
  float* dx;
  const Packed &past, &of_x;
  const Sums& sums;
};

void add_gradients(const Back& w, const Backward& b, int threads, float* to, bool add) {
  const Layout& a = w.a;
  const Program& p = *a.program;
  const auto rows = [&](const program::Operand& o) {
    const long row = b.first_row, before = (a.reverse ? a.batch : 0) + row, after = (a.reverse ? 0 : a.batch) + row;
    const auto from = [&](const float* at, long width, long first) {
      return std::pair<const float*, long>{at + first * width + o.column, width};
    };
    switch (o.place) {
      case program::Place::x: return from(b.x, p.inputs, row);
      case program::Place::kept: return from(b.kept, p.kept, row);
      case program::Place::before: return from(b.states[o.index], p.widths.items[o.index], before);
      default: return from(b.states[o.index], p.widths.items[o.index], after);
    }
  };
  std::vector<Gradient> parts;
  for (std::size_t i = 0; i < w.sums.matrices.size(); ++i) {
    const program::Gradient& gradient = *w.sums.matrices[i];
    const auto [from, stride] = rows(gradient.at);
    parts.push_back({gradient.d, gradient.columns, from, stride, gradient.factors, to + w.sums.at[i]});
  }
  if (w.sums.wants_biases) parts.push_back({0, p.products, nullptr, 0, 1, to + w.sums.biases});
  const Gradients g{b.d, b.time * b.rows, p.d, b.rows, a.batch, parts.data(), static_cast<int>(parts.size()), add};
  split(p.d, threads,
        [&](long begin, long end) { a.kernels->gradients(g, begin, end, scratch(a.kernels->gradients_scratch(g))); });
}

// dx of a stretch of time steps; without products it is what D has of it.
void add_inputs(const Back& w, const Backward& b, int threads) {
  const Layout& a = w.a;
  const Program& p = *a.program;
  const bool whole = b.rows == a.batch;  // then the time steps are contiguous
  const long n = whole ? b.time * b.rows : b.rows;
  for (long t = 0; t < (whole ? 1 : b.time); ++t) {
    const float* const d = b.d + t * b.rows * p.d;
    const float* const direct = p.d > p.products ? d + p.products : nullptr;
    float* const out = w.dx + ((b.first + t) * a.batch + b.first_row) * p.inputs;
    for (long r = 0; !p.dx.count && r < n; ++r) copy(out + r * p.inputs, direct ? direct + r * p.d : nullptr, p.inputs);
    for (const program::Product& product : p.dx) {
      Columns lefts[program::MOST_LEFTS];
      for (long i = 0; i < product.lefts.count; ++i)
        lefts[i] = {product.lefts.items[i].at.column, product.lefts.items[i].factors};
      const long column = product.to.column;
      const Inputs to_x{d,
                        n,
                        p.d,
                        lefts,
                        static_cast<int>(product.lefts.count),
                        direct ? direct + column : nullptr,
                        w.of_x.all()[product.number],
                        out + column,
                        p.inputs,
                        product.columns};
      split(n, threads, [&](long begin, long end) {
        a.kernels->inputs(to_x, begin, end, scratch(a.kernels->inputs_scratch(to_x)));
      });
    }
  }
}

// From the last time step of a stretch to its first. Where TOTAL is summed, the threads share the rows in pieces that do not
// depend on their number.
void go_through(const Back& w, const Backward& b, int threads, long pieces, float* totals) {
  const auto part = [&](long begin, long end, float* total) {
    Backward own = b;
    own.total = total;
    w.a.kernels->backward(own, b.first_row + begin, b.first_row + end, scratch(w.a.kernels->backward_scratch(own)));
  };
  if (pieces == 1) return split(b.rows, threads, [&](long begin, long end) { part(begin, end, totals); });
  each(pieces, threads,
       [&](long i) { part(b.rows * i / pieces, b.rows * (i + 1) / pieces, totals + i * w.sums.total); });
}

// Go from the last time step to the first with the sequences from `row` on; the threads share each stretch of about the
// requested number of steps.
void go_back(const Back& w, long row, long rows, int threads, long pieces, long stretch, float* sums) {
  const Layout& a = w.a;
  const Program& p = *a.program;
  const long own = (rows < a.batch ? OWN : SHARED) / std::max(1L, rows * p.d), parts = p.widths.count;
  const long asked = std::max(1L, std::min(a.time, stretch ? stretch : std::max(own, FEWEST / rows)));
  const long stretches = (a.time + asked - 1) / asked, most = (a.time + stretches - 1) / stretches;
  static thread_local Numbers d;
  const long behind = a.kernels->width * a.kernels->panel + a.kernels->height * p.d;
  if (static_cast<long>(d.size()) < most * rows * p.d + behind) d.resize(most * rows * p.d + behind);
  std::fill_n(sums + w.sums.totals, w.sums.total * pieces, 0.0f);
  for (long i = 0; i < stretches; ++i) {
    const long first = (a.reverse ? i : stretches - 1 - i) * most, n = first * a.batch;
    Backward b{};
    static_cast<Scan&>(b) = w.scan;
    b.first = first, b.time = std::min(most, a.time - first), b.slots = b.time + 1;
    Parts states(parts);
    for (long part = 0; part < parts; ++part) states[part] = w.states[part] + n * p.widths.items[part];
    b.states = states.data();
    b.kept = w.kept ? w.kept + n * p.kept : nullptr;
    b.x = w.steps ? w.steps + n * p.inputs : nullptr, b.x_batch = p.inputs, b.x_time = a.batch * p.inputs;
    if (w.dy) b.dy = w.dy + first * w.dy_time, b.dy_batch = w.dy_batch, b.dy_time = w.dy_time;
    b.packed_past = w.past.all();
    b.d = d.data(), b.first_row = row, b.rows = rows;
    b.ends = w.ends.data();
    b.wants_before = w.wants_initial || i < stretches - 1;
    go_through(w, b, threads, pieces, sums + w.sums.totals);
    add_gradients(w, b, threads, sums, i > 0);
    if (w.dx) add_inputs(w, b, threads);
  }
}

// Whether no number is the gradient by two columns.
bool is_apart(const Block& block, long factors) {
  return std::abs(block.column) > std::abs(block.factor) * (factors - 1) ||
         std::abs(block.factor) > std::abs(block.column) * (block.columns - 1);
}

// Add the parts' sums, in order, to the gradients by the tensors.
void add_matrix(const program::Gradient& gradient, const std::vector<float*>& sums, int threads, const Parts& grads) {
  const long factors = gradient.factors;
  long first = 0;
  for (const Block& block : gradient.blocks) {
    const bool is_large = block.columns * factors > 1L << 16;
    if (float* const grad = grads[block.tensor])
      split(block.columns, is_large && is_apart(block, factors) ? threads : 1, [&](long begin, long end) {
        for (long c = begin; c < end; ++c) {
          float* const sum = sums[0] + (first + c) * factors;
          for (std::size_t part = 1; part < sums.size(); ++part) {
            const float* const more = sums[part] + (first + c) * factors;
            for (long i = 0; i < factors; ++i) sum[i] += more[i];
          }
          float* const to = grad + block.offset + c * block.column;
          for (long i = 0; i < factors; ++i) to[i * block.factor] += sum[i];
        }
      });
    first += block.columns;
  }
}

void add_vector(const List<program::Term>& terms, const std::vector<float*>& sums, const Parts& grads) {
  for (const program::Term& term : terms)
    if (float* const grad = grads[term.tensor])
      for (long i = 0; i < term.count; ++i) {
        float sum = 0;
        for (const float* part : sums) sum += part[term.to + i];
        grad[term.offset + i * term.stride] += sum;
      }
}

Forward arranged(const Layout& a, const program::Steps& steps, const Tensors& tensors) {
  static thread_local Shared shared;
  shared.take(a, steps, tensors);
  Forward f{};
  static_cast<Scan&>(f) = scan(a, steps, shared);
  return f;
}

}  // namespace

Forward arranged(const Layout& a, const Tensors& tensors) { return arranged(a, a.program->infer, tensors); }

void forward(const Layout& a, const Tensors& tensors, const float* x, long x_batch, long x_time, const Tensors& initial,
             const Parts& states, long slots, const Parts& ends, float* steps, float* kept) {
  const Program& p = *a.program;
  const long first = a.reverse ? a.time % slots : 0, last = a.reverse ? 0 : a.time % slots;
  for (long i = 0; i < p.widths.count; ++i) {
    const long numbers = a.batch * p.widths.items[i];
    expect_large(states[i], slots * numbers);
    copy(states[i] + first * numbers, initial[i], numbers);
  }
  expect_large(kept, a.time * a.batch * p.kept);
  Forward f = arranged(a, kept ? p.forward : p.infer, tensors);
  f.states = states.data(), f.slots = slots, f.kept = kept;
  f.x = x, f.x_batch = x_batch, f.x_time = x_time, f.copies = steps;
  split(a.batch, a.threads,
        [&](long begin, long end) { a.kernels->forward(f, begin, end, scratch(a.kernels->forward_scratch(f))); });
  for (long i = 0; i < p.widths.count; ++i) {
    const long numbers = a.batch * p.widths.items[i];
    copy(ends[i], states[i] + last * numbers, numbers);
  }
}

void backward(const Layout& a, const Tensors& tensors, const Parts& states, float* kept, const float* steps,
              const float* dy, long dy_batch, long dy_time, long stretch, const Parts& ends, bool wants_initial,
              const Parts& grads, float* dx) {
  const Program& p = *a.program;
  static thread_local Shared shared;
  static thread_local Packed past, of_x;
  static thread_local Numbers memory;
  shared.take(a, p.backward, tensors);
  for (const List<program::Product>& products : p.past)
    for (const program::Product& product : products) past.pack(*a.kernels, panel(a), product, tensors);
  for (const program::Product& product : p.dx)
    if (dx) of_x.pack(*a.kernels, a.kernels->panel, product, tensors);
  const long weights = std::accumulate(begin(p.gradients), end(p.gradients), 0L, [](long sum, const auto& gradient) {
    return sum + gradient.columns * gradient.factors;
  });
  const long count = weights > MOST_WEIGHTS ? 1 : shares(a);
  const long pieces = count == 1 && p.accumulates ? shares(a) : 1;
  const Sums own(p, grads, pieces);
  if (static_cast<long>(memory.size()) < count * own.all) memory.resize(count * own.all);
  std::vector<float*> sums(count);
  for (long i = 0; i < count; ++i) sums[i] = memory.data() + i * own.all;
  const Scan whole = scan(a, p.backward, shared);
  const Back w{a, whole, states, kept, steps, dy, dy_batch, dy_time, ends, wants_initial, dx, past, of_x, own};
  if (count == 1)
    go_back(w, 0, a.batch, a.threads, pieces, stretch, sums[0]);
  else
    each(count, a.threads, [&](long i) {
      const long row = a.batch * i / count;
      go_back(w, row, a.batch * (i + 1) / count - row, 1, 1, stretch, sums[i]);
    });
  for (std::size_t i = 0; i < own.matrices.size(); ++i) {
    std::vector<float*> parts(sums);
    for (float*& part : parts) part += own.at[i];
    add_matrix(*own.matrices[i], parts, a.threads, grads);
  }
  std::vector<float*> biases(sums), totals;
  for (float*& part : biases) part += own.biases;
  if (own.wants_biases) add_vector(p.biases, biases, grads);
  for (float* part : sums)
    for (long i = 0; i < pieces; ++i) totals.push_back(part + own.totals + i * own.total);
  if (p.accumulates) add_vector(p.unit_terms, totals, grads);
}

void linear(const Kernels& kernels, int threads, const Linear& scan) {
  split(scan.batch, threads, [&](long begin, long end) { kernels.linear(scan, begin, end); });
}

void linear_backward(const Kernels& kernels, int threads, const LinearBackward& scan) {
  split(scan.batch, threads, [&](long begin, long end) { kernels.linear_backward(scan, begin, end); });
}

}  // namespace unroll
