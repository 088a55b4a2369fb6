#include "passes.h"

#include <algorithm>
#include <cstring>

#include "pack.h"
#include "threads.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace unroll {
namespace {

// Ask for large pages behind what is large: the first touch of each page costs as much as the arithmetic on it.
void expect_large(void* from, long floats) {
#ifdef __linux__
  constexpr std::uintptr_t page = 1 << 21;
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(from) + page - 1) / page * page;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(from) + floats * sizeof(float)) / page * page;
  if (from && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)from, (void)floats;
#endif
}

void copy(float* to, const float* from, long n) {
  if (from)
    std::memcpy(to, from, n * sizeof(float));
  else
    std::fill_n(to, n, 0.0f);
}

bool is_gru(const Layout& a) { return a.recurrence == Recurrence::gru; }

// Rows of the weights, and columns of d, whose products with x and with h are added. For gru W_hn h and W_in x follow.
long added(const Layout& a) { return is_gru(a) ? 2 * a.hidden : a.columns(); }

long panel(const Layout& a) { return a.batch == 1 ? a.kernels->wide : a.kernels->panel; }

Scan scan(const Layout& a, float* h, float* c, float* gates, long slots) {
  return {a.recurrence, a.reverse, a.batch, a.time, a.inputs, a.hidden, a.lengths, h, c, slots, gates,
          panel(a)};
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

// What the way back writes; db is of all columns.
struct Results {
  float *d, *dw_ih, *dw_hh, *db;
};

void add_gradients(const Layout& a, const Backward& b, const float* steps, const Results& to, bool add) {
  const long both = added(a), columns = a.columns();
  const Numbers one(1 + a.kernels->width * a.kernels->panel, 1.0f);
  Gradients g{to.d, b.time * b.batch, columns, {}, 0, add};
  g.parts[g.count++] = {0, both, steps, a.inputs, a.inputs, to.dw_ih};
  if (is_gru(a)) g.parts[g.count++] = {both + a.hidden, a.hidden, steps, a.inputs, a.inputs, to.dw_ih + both * a.inputs};
  g.parts[g.count++] = {0, a.rows(), b.h + (a.reverse ? a.batch * a.hidden : 0), a.hidden, a.hidden, to.dw_hh};
  if (to.db) g.parts[g.count++] = {0, columns, one.data(), 0, 1, to.db};
  split(columns, a.threads, [&](long begin, long end) {
    a.kernels->gradients(g, begin, end, scratch(a.kernels->gradients_scratch(g)));
  });
}

}  // namespace

float* scratch(long floats) {
  static thread_local Numbers kept;
  if (static_cast<long>(kept.size()) < floats) kept.resize(floats);
  return kept.data();
}

void forward(
    const Layout& a, const float* x, long x_batch, long x_time, const float* w_ih, const float* w_hh, const float* b_ih,
    const float* b_hh, const float* h0, const float* c0, float* h, float* c, long slots, float* h_n, float* c_n, float* steps,
    float* gates) {
  const long inputs = a.inputs, hidden = a.hidden, states = a.batch * hidden, both = added(a);
  const long first = a.reverse ? a.time % slots * states : 0, last = a.reverse ? 0 : a.time % slots * states;
  for (float* rows : {h, c}) expect_large(rows, slots * states);
  expect_large(gates, a.time * a.batch * a.columns());
  copy(h + first, h0, states);
  if (c) copy(c + first, c0, states);
  const auto x_part = [&](long row) { return Matrix{w_ih + row * inputs, inputs, 1, inputs}; };
  const auto h_part = [&](long row) { return Matrix{w_hh + row * hidden, hidden, 1, hidden}; };
  const Numbers bias = biases(a, b_ih, b_hh);
  static thread_local Numbers packed, of_h, of_x;
  pack(packed, *a.kernels, panel(a), both, {x_part(0), h_part(0)});
  Forward f{scan(a, h, c, gates, slots), x, x_batch, x_time, {{both, packed.data(), bias.data(), true, true}}, 1, steps};
  if (is_gru(a)) {
    pack(of_h, *a.kernels, panel(a), hidden, {h_part(both)});
    pack(of_x, *a.kernels, panel(a), hidden, {x_part(both)});
    f.products[f.count++] = {hidden, of_h.data(), bias.data() + both, false, true};
    f.products[f.count++] = {hidden, of_x.data(), bias.data() + both + hidden, true, false};
  }
  split(a.batch, a.threads, [&](long begin, long end) {
    a.kernels->forward(f, begin, end, scratch(a.kernels->scratch(f)));
  });
  copy(h_n, h + last, states);
  if (c) copy(c_n, c + last, states);
}

void backward(
    const Layout& a, const float* w_ih, const float* w_hh, float* h, float* c, float* gates, const float* steps,
    const float* dy, long dy_batch, long dy_time, float* d, long stretch, float* dh, float* dc, bool wants_initial,
    float* dw_ih, float* dw_hh, float* db_ih, float* db_hh, float* dx) {
  const long inputs = a.inputs, hidden = a.hidden, columns = a.columns(), rows = a.rows(), both = added(a);
  static thread_local Numbers of_h, of_x;
  pack(of_h, *a.kernels, panel(a), hidden, {{w_hh, 1, hidden, rows}});
  // In two, as Inputs takes the columns of d.
  if (dx)
    pack(of_x, *a.kernels, a.kernels->panel, inputs,
         {{w_ih, 1, inputs, both}, {w_ih + both * inputs, 1, inputs, rows - both}});
  Numbers db(db_ih ? columns : 0);
  const Results to{d, dw_ih, dw_hh, db_ih ? db.data() : nullptr};
  const long stretches = (a.time + stretch - 1) / stretch;
  for (long i = 0; i < stretches; ++i) {
    const long first = (a.reverse ? i : stretches - 1 - i) * stretch, n = first * a.batch;
    Layout part = a;
    part.time = std::min(stretch, a.time - first);
    Backward b{};
    static_cast<Scan&>(b) =
        scan(part, h + n * hidden, c ? c + n * hidden : c, gates ? gates + n * columns : gates, part.time + 1);
    b.first = first;
    if (dy) b.dy = dy + first * dy_time, b.dy_batch = dy_batch, b.dy_time = dy_time;
    b.packed = of_h.data();
    b.d = d, b.dh = dh, b.dc = dc;
    b.wants_before = wants_initial || i < stretches - 1;
    split(a.batch, a.threads, [&](long begin, long end) {
      a.kernels->backward(b, begin, end, scratch(a.kernels->scratch(b)));
    });
    add_gradients(a, b, steps + n * inputs, to, i > 0);
    if (!dx) continue;
    const Inputs to_x{d, b.time * a.batch, columns, both, columns - rows, of_x.data(), dx + n * inputs, inputs};
    split(to_x.n, a.threads, [&](long begin, long end) {
      a.kernels->inputs(to_x, begin, end, scratch(a.kernels->inputs_scratch(to_x)));
    });
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

void linear_backward(
    const Layout& a, const float* a_t, const float* h0, const float* y, const float* dy, const float* dh, float* da, float* db,
    float* dh0) {
  const LinearBackward l{a.reverse, a.batch, a.time, a.hidden, a.lengths, a_t, h0, y, dy, dh, da, db, dh0};
  split(a.batch, a.threads, [&](long begin, long end) { a.kernels->linear_backward(l, begin, end); });
}

}  // namespace unroll
