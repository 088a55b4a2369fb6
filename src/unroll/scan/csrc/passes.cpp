#include "passes.h"

#include <algorithm>

#include "pack.h"
#include "threads.h"

namespace unroll {
namespace {

bool is_gru(const Layout& a) { return a.recurrence == Recurrence::gru; }

// Rows of the weights, and columns of d, whose products with x and with h are added. For gru W_hn h and W_in x follow.
long added(const Layout& a) { return is_gru(a) ? 2 * a.hidden : a.columns(); }

long panel(const Layout& a) { return a.batch == 1 ? a.kernels->wide : a.kernels->panel; }

Scan scan(const Layout& a, float* h, float* c, float* gates, long slots) {
  return {a.recurrence, a.reverse, a.batch, a.time, a.inputs, a.hidden, a.lengths, h, c, slots, gates, panel(a)};
}

// Sums of the biases, in the order of the columns.
Numbers biases(const Layout& a, const float* b_ih, const float* b_hh) {
  const long both = added(a);
  Numbers sums(a.columns() + a.kernels->width * panel(a));
  if (!b_ih) return sums;
  for (long u = 0; u < both; ++u) sums[u] = b_ih[u] + b_hh[u];
  if (is_gru(a)) {
    copy(&sums[both], b_hh + both, a.hidden);
    copy(&sums[both + a.hidden], b_ih + both, a.hidden);
  }
  return sums;
}

// How threads share the backward pass. Each part of the batch goes through all time steps in one thread and sums its own
// gradients, so no core reads what another one writes until the end. The number of parts does not depend on the threads, so
// neither do the sums. If the sums of many weights would fill the cache, columns are shared instead, stretch by stretch.
constexpr long MOST_PARTS = 8, MOST_WEIGHTS = 1L << 19;
constexpr long OWN = 1L << 16, SHARED = 1L << 21;  // floats of d at once, for a part and for the whole batch;
constexpr long FEWEST = 128;                       // fewest rows, as all sums are read and written each time

long parts(const Layout& a) {
  if (a.rows() * (a.inputs + a.hidden) > MOST_WEIGHTS) return 1;
  const long shares = (a.batch + a.kernels->share - 1) / a.kernels->share;
  return std::min(std::max(shares, std::min(a.batch, 2L)), MOST_PARTS);
}

// The arguments of backward(), and the packed weights.
struct Back {
  const Layout& a;
  float *h, *c, *gates;
  const float *steps, *dy;
  long dy_batch, dy_time;
  float *dh, *dc;
  bool wants_initial;
  const float *of_h, *of_x;
  float* dx;
};

// Sums of gradients; db is of all columns, or null.
struct Sums {
  float *dw_ih, *dw_hh, *db;
};

void add_gradients(const Layout& a, const Backward& b, const float* steps, int threads, const Sums& to, bool add) {
  const long both = added(a), columns = a.columns(), row = b.first_row;
  const float *x = steps + row * a.inputs, *h = b.h + ((a.reverse ? a.batch : 0) + row) * a.hidden;
  Gradient parts[4];
  Gradients g{b.d, b.time * b.rows, columns, b.rows, a.batch, parts, 0, add};
  parts[g.count++] = {0, both, x, a.inputs, a.inputs, to.dw_ih};
  if (is_gru(a)) parts[g.count++] = {both + a.hidden, a.hidden, x, a.inputs, a.inputs, to.dw_ih + both * a.inputs};
  parts[g.count++] = {0, a.rows(), h, a.hidden, a.hidden, to.dw_hh};
  if (to.db) parts[g.count++] = {0, columns, nullptr, 0, 1, to.db};
  split(columns, threads,
        [&](long begin, long end) { a.kernels->gradients(g, begin, end, scratch(a.kernels->gradients_scratch(g))); });
}

// dx of a stretch of time steps from `first` on.
void add_inputs(const Back& w, const Backward& b, long first, int threads) {
  const Layout& a = w.a;
  const bool whole = b.rows == a.batch;  // then the time steps are contiguous
  const long columns = a.columns(), both = added(a), n = whole ? b.time * b.rows : b.rows;
  const long after = columns - a.rows() + both;
  const Columns lefts[] = {{0, both}, {after, columns - after}};
  for (long t = 0; t < (whole ? 1 : b.time); ++t) {
    const Inputs to_x{b.d + t * b.rows * columns,
                      n,
                      columns,
                      lefts,
                      2,
                      nullptr,
                      w.of_x,
                      w.dx + ((first + t) * a.batch + b.first_row) * a.inputs,
                      a.inputs,
                      a.inputs};
    split(n, threads,
          [&](long begin, long end) { a.kernels->inputs(to_x, begin, end, scratch(a.kernels->inputs_scratch(to_x))); });
  }
}

// Go from the last time step to the first with the sequences from `row` on; the threads share each stretch of about the
// requested number of steps.
void go_back(const Back& w, long row, long rows, int threads, long stretch, const Sums& to) {
  const Layout& a = w.a;
  const long columns = a.columns(), own = (rows < a.batch ? OWN : SHARED) / std::max(1L, rows * columns);
  const long asked = std::max(1L, std::min(a.time, stretch ? stretch : std::max(own, FEWEST / rows)));
  const long stretches = (a.time + asked - 1) / asked, most = (a.time + stretches - 1) / stretches;
  static thread_local Numbers d;
  const long room = a.kernels->width * a.kernels->panel;
  if (static_cast<long>(d.size()) < most * rows * columns + room) d.resize(most * rows * columns + room);
  for (long i = 0; i < stretches; ++i) {
    const long first = (a.reverse ? i : stretches - 1 - i) * most, n = first * a.batch;
    Layout part = a;
    part.time = std::min(most, a.time - first);
    Backward b{};
    static_cast<Scan&>(b) = scan(part, w.h + n * a.hidden, w.c ? w.c + n * a.hidden : nullptr,
                                 w.gates ? w.gates + n * columns : nullptr, part.time + 1);
    b.first = first;
    if (w.dy) b.dy = w.dy + first * w.dy_time, b.dy_batch = w.dy_batch, b.dy_time = w.dy_time;
    b.packed = w.of_h;
    b.d = d.data(), b.first_row = row, b.rows = rows;
    b.dh = w.dh, b.dc = w.dc;
    b.wants_before = w.wants_initial || i < stretches - 1;
    split(rows, threads, [&](long begin, long end) {
      a.kernels->backward(b, row + begin, row + end, scratch(a.kernels->scratch(b)));
    });
    add_gradients(a, b, w.steps + n * a.inputs, threads, to, i > 0);
    if (w.dx) add_inputs(w, b, first, threads);
  }
}

void add_to(const Layout& a, float* sum, const float* more, long n) {
  if (sum)
    split(n, n > 1L << 16 ? a.threads : 1, [&](long begin, long end) {
      for (long i = begin; i < end; ++i) sum[i] += more[i];
    });
}

}  // namespace

Forward arranged(const Layout& a, const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh) {
  const long inputs = a.inputs, hidden = a.hidden, both = added(a);
  const auto x_part = [&](long row) { return Matrix{w_ih + row * inputs, inputs, 1, inputs}; };
  const auto h_part = [&](long row) { return Matrix{w_hh + row * hidden, hidden, 1, hidden}; };
  static thread_local Numbers bias, packed, of_h, of_x;
  bias = biases(a, b_ih, b_hh);
  pack(packed, *a.kernels, panel(a), both, {x_part(0), h_part(0)});
  Forward f{};
  static_cast<Scan&>(f) = scan(a, nullptr, nullptr, nullptr, 0);
  f.products[f.count++] = {both, packed.data(), bias.data(), true, true};
  if (is_gru(a)) {
    pack(of_h, *a.kernels, panel(a), hidden, {h_part(both)});
    pack(of_x, *a.kernels, panel(a), hidden, {x_part(both)});
    f.products[f.count++] = {hidden, of_h.data(), bias.data() + both, false, true};
    f.products[f.count++] = {hidden, of_x.data(), bias.data() + both + hidden, true, false};
  }
  return f;
}

void forward(const Layout& a, const float* x, long x_batch, long x_time, const float* w_ih, const float* w_hh,
             const float* b_ih, const float* b_hh, const float* h0, const float* c0, float* h, float* c, long slots,
             float* h_n, float* c_n, float* steps, float* gates) {
  const long states = a.batch * a.hidden;
  const long first = a.reverse ? a.time % slots * states : 0, last = a.reverse ? 0 : a.time % slots * states;
  for (float* rows : {h, c}) expect_large(rows, slots * states);
  expect_large(gates, a.time * a.batch * a.columns());
  copy(h + first, h0, states);
  if (c) copy(c + first, c0, states);
  Forward f = arranged(a, w_ih, w_hh, b_ih, b_hh);
  f.h = h, f.c = c, f.slots = slots, f.gates = gates;
  f.x = x, f.x_batch = x_batch, f.x_time = x_time, f.steps = steps;
  split(a.batch, a.threads,
        [&](long begin, long end) { a.kernels->forward(f, begin, end, scratch(a.kernels->scratch(f))); });
  copy(h_n, h + last, states);
  if (c) copy(c_n, c + last, states);
}

void backward(const Layout& a, const float* w_ih, const float* w_hh, float* h, float* c, float* gates,
              const float* steps, const float* dy, long dy_batch, long dy_time, long stretch, float* dh, float* dc,
              bool wants_initial, float* dw_ih, float* dw_hh, float* db_ih, float* db_hh, float* dx) {
  const long inputs = a.inputs, hidden = a.hidden, columns = a.columns(), rows = a.rows(), both = added(a);
  static thread_local Numbers of_h, of_x, apart;
  pack(of_h, *a.kernels, panel(a), hidden, {{w_hh, 1, hidden, rows}});
  // In two, as Inputs takes the columns of d.
  if (dx)
    pack(of_x, *a.kernels, a.kernels->panel, inputs,
         {{w_ih, 1, inputs, both}, {w_ih + both * inputs, 1, inputs, rows - both}});
  Numbers db(db_ih ? columns : 0);
  const Back w{a, h, c, gates, steps, dy, dy_batch, dy_time, dh, dc, wants_initial, of_h.data(), of_x.data(), dx};
  const Sums whole{dw_ih, dw_hh, db_ih ? db.data() : nullptr};
  const long count = parts(a), weights = rows * inputs, all = weights + rows * hidden + columns;
  if (static_cast<long>(apart.size()) < (count - 1) * all) apart.resize((count - 1) * all);
  float* const others = apart.data();
  const auto sums = [&](long part) {
    float* const at = others + (part - 1) * all;
    return part ? Sums{at, at + weights, db_ih ? at + weights + rows * hidden : nullptr} : whole;
  };
  if (count == 1)
    go_back(w, 0, a.batch, a.threads, stretch, whole);
  else
    each(count, a.threads, [&](long i) {
      const long row = a.batch * i / count;
      go_back(w, row, a.batch * (i + 1) / count - row, 1, stretch, sums(i));
    });
  for (long i = 1; i < count; ++i) {
    const Sums more = sums(i);
    add_to(a, dw_ih, more.dw_ih, weights), add_to(a, dw_hh, more.dw_hh, rows * hidden),
        add_to(a, whole.db, more.db, columns);
  }
  if (!db_ih) return;
  copy(db_ih, db.data(), rows);
  copy(db_hh, db.data(), rows);
  if (is_gru(a)) copy(db_ih + both, db.data() + rows, hidden);
}

void linear(const Layout& a, const float* a_t, const float* b_t, const float* h0, float* y, float* h_n) {
  const Linear l{a.reverse, a.batch, a.time, a.hidden, a.lengths, a_t, b_t, h0, y, h_n};
  split(a.batch, a.threads, [&](long begin, long end) { a.kernels->linear(l, begin, end); });
}

void linear_backward(const Layout& a, const float* a_t, const float* h0, const float* y, const float* dy,
                     const float* dh, float* da, float* db, float* dh0) {
  const LinearBackward l{a.reverse, a.batch, a.time, a.hidden, a.lengths, a_t, h0, y, dy, dh, da, db, dh0};
  split(a.batch, a.threads, [&](long begin, long end) { a.kernels->linear_backward(l, begin, end); });
}

}  // namespace unroll
