// Runs the kernels of every instruction set that this processor has, and 16-wide ones, as Python does, in memory of
// exactly the size that scan.h asks for, and compares them with plain loops in double. Built with sanitisers: make sanitize.
//
// usage: driver MOST_PRODUCTS (of a scan; larger ones are left out)

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "answer.h"
#include "passes.h"
#include "processor.h"
#include "scan.h"
#include "step.h"
#include "threads.h"

namespace unroll {
extern const Kernels wide, wide_bf16, wide_amx;
}  // namespace unroll

using namespace unroll;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

static std::mt19937 random_bits(0);

// In place of OpenMP's, whose own threads the sanitiser does not see through.
static void team(void (*function)(void*), void* data, unsigned threads, unsigned) {
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(function, data);
  function(data);
  for (auto& other : others) other.join();
}

// Floats on the heap; what is not set, and the room behind, is NaN, so that whoever uses it is seen.
static Floats unset(long n, long room = 0) { return Floats(n + room, NAN); }

static Floats some(long n, long room = 0, float bound = 1) {
  Floats made = unset(n, room);
  std::uniform_real_distribution<float> uniform(-bound, bound);
  for (long i = 0; i < n; ++i) made[i] = uniform(random_bits);
  return made;
}

static void fail(const char* isa, const char* what, const char* why) {
  std::printf("%s: %s %s\n", isa, what, why);
  std::exit(1);
}

static void compare(const Kernels& kernels, const char* what, const Floats& found, const Doubles& exact) {
  double size = 1, worst = 0, norm = 0, error = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    if (!(std::fabs(found[i]) <= 1e30)) fail(kernels.name, what, "holds what is not a number");
    const double off = found[i] - exact[i];
    size = std::fmax(size, std::fabs(exact[i])), worst = std::fmax(worst, std::fabs(off));
    norm += exact[i] * exact[i], error += off * off;
  }
  // Rounded to bf16, a unit near zero may fall to the other side of relu; a factor in the wrong place does more than that.
  const bool right = kernels.pair > 1 ? std::sqrt(error) <= 0.2 * std::sqrt(norm) + 2e-2 * std::sqrt(exact.size())
                                      : worst <= 2e-5 * size;
  if (!right) fail(kernels.name, what, "is wrong");
}

static void compare_bits(const char* isa, const char* what, const Floats& one, const Floats& other, long n) {
  if (n && std::memcmp(one.data(), other.data(), n * sizeof(float)))
    fail(isa, what, "depends on the number of threads");
}

struct Case {
  Recurrence recurrence;
  bool reverse, with_lengths, biases, time_first, ends;
  long batch, time, inputs, hidden;

  bool gru() const { return recurrence == Recurrence::gru; }
  bool lstm() const { return recurrence == Recurrence::lstm; }
  long columns() const { return gates_of(recurrence) * hidden; }  // of d
  long rows() const { return gru() ? 3 * hidden : columns(); }    // of the weights
  long count() const { return batch * time; }
};

// What goes in, and what plain loops in double make of it, in the layout of scan.h.
struct Plain {
  Case a;
  std::vector<std::int64_t> lengths;
  Floats x, h0, c0, w_ih, w_hh, b_ih, b_hh, dy, dh, dc;
  Doubles h, c, d, dx, dh0, dc0, dw_ih, dw_hh, db;

  explicit Plain(const Case& given) : a(given) {
    const float bound = 1 / std::sqrt(float(a.hidden));
    const long b_rows = a.biases ? a.rows() : 0, state = a.batch * a.hidden;
    for (long b = 0; b < a.batch; ++b)
      lengths.push_back(!a.with_lengths || b % 3 == 2 ? a.time : b % 3 ? a.time / 2 + 1 : 0);
    x = some(a.count() * a.inputs), h0 = some(state), w_ih = some(a.rows() * a.inputs, 0, bound);
    w_hh = some(a.rows() * a.hidden, 0, bound), b_ih = some(b_rows, 0, bound), b_hh = some(b_rows, 0, bound);
    dy = some(a.count() * a.hidden), dh = some(a.ends ? state : 0);
    if (!a.ends) h0.assign(state, 0);
    if (a.lstm()) c0 = a.ends ? some(state) : Floats(state), dc = some(a.ends ? state : 0);
    const long kept = (a.time + 1) * state;
    h.resize(kept), c.resize(a.lstm() ? kept : 0), d.resize(a.count() * a.columns()), dx.resize(a.count() * a.inputs);
    dh0.resize(state), dc0.resize(c0.size()), dw_ih.resize(w_ih.size()), dw_hh.resize(w_hh.size()),
        db.resize(a.columns());
    for (long b = 0; b < a.batch; ++b) scan(b);
  }

  long at(long t, long b) const { return (t * a.batch + b) * a.hidden; }
  const float* x_of(long t, long b) const { return &x[(a.time_first ? t * a.batch + b : b * a.time + t) * a.inputs]; }
  const float* dy_of(long t, long b) const { return &dy[(a.time_first ? t * a.batch + b : b * a.time + t) * a.hidden]; }
  static double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

  // The row of a weight matrix, or the bias, that column j of d belongs to; -1: none. For gru W_hn h is column 2, W_in x 3.
  long x_row(long j) const { return !a.gru() || j < 2 * a.hidden ? j : j < 3 * a.hidden ? -1 : j - a.hidden; }
  long h_row(long j) const { return a.gru() && j >= 3 * a.hidden ? -1 : j; }

  double product(long j, long t, const double* before, long b) const {
    double z = 0;
    if (const long r = x_row(j); r >= 0) {
      z += a.biases ? b_ih[r] : 0;
      for (long i = 0; i < a.inputs; ++i) z += double(w_ih[r * a.inputs + i]) * x_of(t, b)[i];
    }
    if (const long r = h_row(j); r >= 0) {
      z += a.biases ? b_hh[r] : 0;
      for (long i = 0; i < a.hidden; ++i) z += double(w_hh[r * a.hidden + i]) * before[i];
    }
    return z;
  }

  void scan(long b) {
    const long n = a.hidden;
    std::vector<Doubles> gates(a.time, Doubles(a.columns()));
    for (long u = 0; u < n; ++u) {
      h[at(a.reverse ? a.time : 0, b) + u] = h0[b * n + u];
      if (a.lstm()) c[at(a.reverse ? a.time : 0, b) + u] = c0[b * n + u];
    }
    for (long s = 0; s < a.time; ++s) {
      const long t = a.reverse ? a.time - 1 - s : s, from = at(a.reverse ? t + 1 : t, b),
                 to = at(a.reverse ? t : t + 1, b);
      Doubles& z = gates[t];
      for (long j = 0; t < lengths[b] && j < a.columns(); ++j) z[j] = product(j, t, &h[from], b);
      for (long u = 0; u < n; ++u) {
        double &z0 = z[u], &new_h = h[to + u];
        if (t >= lengths[b]) {
          new_h = h[from + u];
          if (a.lstm()) c[to + u] = c[from + u];
        } else if (a.gru()) {
          double &z1 = z[n + u], &q = z[2 * n + u], &m = z[3 * n + u];
          z0 = sigmoid(z0), z1 = sigmoid(z1), m = std::tanh(m + z0 * q), new_h = (1 - z1) * m + z1 * h[from + u];
        } else if (a.lstm()) {
          double &f = z[n + u], &g = z[2 * n + u], &o = z[3 * n + u];
          z0 = sigmoid(z0), f = sigmoid(f), g = std::tanh(g), o = sigmoid(o);
          c[to + u] = f * c[from + u] + z0 * g, new_h = o * std::tanh(c[to + u]);
        } else {
          new_h = a.recurrence == Recurrence::tanh ? std::tanh(z0) : std::fmax(z0, 0);
        }
      }
    }
    back(b, gates);
  }

  void back(long b, const std::vector<Doubles>& gates) {
    const long n = a.hidden;
    Doubles g(n), gc(n), carry(n);
    for (long u = 0; a.ends && u < n; ++u) g[u] = dh[b * n + u], gc[u] = a.lstm() ? dc[b * n + u] : 0;
    for (long s = a.time - 1; s >= 0; --s) {
      const long t = a.reverse ? a.time - 1 - s : s, from = at(a.reverse ? t + 1 : t, b),
                 to = at(a.reverse ? t : t + 1, b);
      if (t >= lengths[b]) continue;
      double* e = &d[(t * a.batch + b) * a.columns()];
      const Doubles& z = gates[t];
      for (long u = 0; u < n; ++u) {
        const double sum = g[u] + dy_of(t, b)[u], y = h[to + u];
        carry[u] = 0;
        if (a.gru()) {
          const double r = z[u], keep = z[n + u], q = z[2 * n + u], m = z[3 * n + u],
                       dm = sum * (1 - keep) * (1 - m * m);
          e[u] = dm * q * r * (1 - r), e[n + u] = sum * (h[from + u] - m) * keep * (1 - keep);
          e[2 * n + u] = dm * r, e[3 * n + u] = dm, carry[u] = sum * keep;
        } else if (a.lstm()) {
          const double i = z[u], f = z[n + u], m = z[2 * n + u], o = z[3 * n + u], w = std::tanh(c[to + u]);
          const double k = gc[u] + sum * o * (1 - w * w);
          e[u] = k * m * i * (1 - i), e[n + u] = k * c[from + u] * f * (1 - f), e[2 * n + u] = k * i * (1 - m * m);
          e[3 * n + u] = sum * w * o * (1 - o), gc[u] = k * f;
        } else {
          e[u] = a.recurrence == Recurrence::tanh ? sum * (1 - y * y) : y > 0 ? sum : 0;
        }
      }
      g = carry;
      for (long j = 0; j < a.columns(); ++j) {
        db[j] += e[j];
        if (const long r = h_row(j); r >= 0)
          for (long i = 0; i < n; ++i) g[i] += e[j] * w_hh[r * n + i], dw_hh[r * n + i] += e[j] * h[from + i];
        if (const long r = x_row(j); r >= 0)
          for (long i = 0; i < a.inputs; ++i) {
            dw_ih[r * a.inputs + i] += e[j] * x_of(t, b)[i];
            dx[(t * a.batch + b) * a.inputs + i] += e[j] * w_ih[r * a.inputs + i];
          }
      }
    }
    for (long u = 0; u < n; ++u) dh0[b * n + u] = g[u];
    for (long u = 0; a.lstm() && u < n; ++u) dc0[b * n + u] = gc[u];
  }
};

static float* at(Floats& numbers) { return numbers.empty() ? nullptr : numbers.data(); }
static const float* at(const Floats& numbers) { return numbers.empty() ? nullptr : numbers.data(); }

// One run of an instruction set's kernels; its memory is laid out anew, and is as large as it must be.
struct Fused {
  Floats h, c, h_n, c_n, steps, gates, dx, dh, dc, dw_ih, dw_hh, db_ih, db_hh;

  Fused(const Kernels& kernels, const Plain& p, int threads, bool keeps, long stretch) {
    const Case& a = p.a;
    const long room = kernels.width * kernels.panel, n = a.hidden, k = a.inputs, state = a.batch * n;
    const long x_batch = a.time_first ? 1 : a.time, x_time = a.time_first ? a.batch : 1, slots = keeps ? a.time + 1 : 2;
    const std::int64_t* lengths = a.with_lengths ? p.lengths.data() : nullptr;
    const Layout layout{&kernels, threads, a.recurrence, a.reverse, a.batch, a.time, k, n, lengths};
    h = unset(slots * state, room), h_n = unset(state);
    if (a.lstm()) c = unset(slots * state, room), c_n = unset(state);
    if (keeps) steps = unset(a.count() * k, room);
    if (keeps && gates_of(a.recurrence) > 1) gates = unset(a.count() * a.columns(), room);
    forward(layout, p.x.data(), x_batch * k, x_time * k, p.w_ih.data(), p.w_hh.data(), at(p.b_ih), at(p.b_hh),
            a.ends ? p.h0.data() : nullptr, a.ends ? at(p.c0) : nullptr, at(h), at(c), slots, at(h_n), at(c_n),
            at(steps), at(gates));
    if (!keeps) return;
    dh = a.ends ? p.dh : Floats(state);
    if (a.lstm()) dc = a.ends ? p.dc : Floats(state);
    dw_ih = unset(p.w_ih.size()), dw_hh = unset(p.w_hh.size()), db_ih = unset(p.b_ih.size()),
    db_hh = unset(p.b_hh.size());
    dx = unset(a.count() * k);
    backward(layout, p.w_ih.data(), p.w_hh.data(), at(h), at(c), at(gates), at(steps), p.dy.data(), x_batch * n,
             x_time * n, stretch, at(dh), at(dc), true, at(dw_ih), at(dw_hh), at(db_ih), at(db_hh), at(dx));
  }
};

static void check(const Kernels& kernels, const Plain& p) {
  const char* isa = kernels.name;
  const long state = p.a.batch * p.a.hidden, end = p.a.reverse ? 0 : p.a.time;
  const Fused one(kernels, p, 1, true, p.a.time), three(kernels, p, 3, true, p.a.time), last(kernels, p, 2, false, 0);
  const Fused few(kernels, p, 2, true, p.a.time / 2 + 1);
  const auto final = [&](const Doubles& all) {
    return all.empty() ? all : Doubles(all.begin() + end * state, all.begin() + (end + 1) * state);
  };
  Doubles db_ih(p.b_ih.size()), db_hh(p.b_hh.size());
  for (long j = 0; p.a.biases && j < p.a.columns(); ++j) {
    if (p.x_row(j) >= 0) db_ih[p.x_row(j)] = p.db[j];
    if (p.h_row(j) >= 0) db_hh[p.h_row(j)] = p.db[j];
  }
  for (const Fused* f : {&one, &few}) {
    compare(kernels, "h", f->h, p.h), compare(kernels, "c", f->c, p.c), compare(kernels, "h_n", f->h_n, final(p.h));
    compare(kernels, "c_n", f->c_n, final(p.c)), compare(kernels, "dx", f->dx, p.dx),
        compare(kernels, "dh0", f->dh, p.dh0);
    compare(kernels, "dc0", f->dc, p.dc0), compare(kernels, "dw_ih", f->dw_ih, p.dw_ih),
        compare(kernels, "dw_hh", f->dw_hh, p.dw_hh);
    compare(kernels, "db_ih", f->db_ih, db_ih), compare(kernels, "db_hh", f->db_hh, db_hh);
  }
  compare_bits(isa, "the last h", one.h_n, last.h_n, state),
      compare_bits(isa, "the last c", one.c_n, last.c_n, p.c0.size());
  compare_bits(isa, "h", one.h, three.h, p.h.size()), compare_bits(isa, "dx", one.dx, three.dx, p.dx.size());
  compare_bits(isa, "dh0", one.dh, three.dh, state), compare_bits(isa, "dw_ih", one.dw_ih, three.dw_ih, p.dw_ih.size());
  compare_bits(isa, "dw_hh", one.dw_hh, three.dw_hh, p.dw_hh.size());
  compare_bits(isa, "db_hh", one.db_hh, three.db_hh, p.b_hh.size());
}

// Logits after a scan forwards from zero: of x as it is, of x unscaled, and of bytes, which are x scaled beforehand as well.
static void check_answer(const Kernels& kernels, const Plain& p) {
  const Case& a = p.a;
  const long classes = 11, n = a.hidden;
  const Floats w = some(classes * n), b = some(classes), mean(a.inputs, 0.25f), scale(a.inputs, 2.0f);
  Doubles exact(a.batch * classes);
  for (long i = 0; i < a.batch * classes; ++i) {
    exact[i] = b[i % classes];
    for (long u = 0; u < n; ++u) exact[i] += w[i % classes * n + u] * p.h[p.at(a.time, i / classes) + u];
  }
  Floats raw, scaled;
  std::vector<std::uint8_t> bytes;
  for (const float x : p.x) {
    raw.push_back(x / 2 + 0.25f), bytes.push_back(static_cast<std::uint8_t>(2 + 2 * x));
    scaled.push_back((bytes.back() - 0.25f) * 2.0f);
  }
  const auto logits = [&](const std::uint8_t* bytes, const float* floats, bool scales, int threads) {
    const Layout layout{&kernels, threads, a.recurrence,
                        false,    a.batch, a.time,
                        a.inputs, n,       a.with_lengths ? p.lengths.data() : nullptr};
    Floats found = unset(a.batch * classes);
    answer(layout, bytes, floats, scales ? mean.data() : nullptr, scales ? scale.data() : nullptr, p.w_ih.data(),
           p.w_hh.data(), at(p.b_ih), at(p.b_hh), w.data(), b.data(), classes, found.data());
    return found;
  };
  compare(kernels, "logits", logits(nullptr, p.x.data(), false, 3), exact);
  compare(kernels, "logits of raw floats", logits(nullptr, raw.data(), true, 1), exact);
  const Floats found = logits(nullptr, scaled.data(), false, 2);
  compare(kernels, "logits of bytes", logits(bytes.data(), nullptr, true, 3), Doubles(found.begin(), found.end()));
}

static void check_linear(const Kernels& kernels, const Case& s) {
  const long n = s.hidden, state = s.batch * n, all = s.count() * n;
  const Plain shape({Recurrence::tanh, s.reverse, s.with_lengths, false, false, s.ends, s.batch, s.time, 1, 1});
  const Floats a = some(all), b = some(all), h0 = some(state), dy = some(s.ends ? all : 0), dh = some(state);
  Doubles y(all), h_n(state), da(all), db(all), dh0(state);
  for (long i = 0; i < state; ++i) {
    const long row = i / n, u = i % n, length = shape.lengths[row];
    const auto place = [&](long step) { return (row * s.time + (s.reverse ? length - 1 - step : step)) * n + u; };
    double h = h0[i], g = dh[i];
    for (long step = 0; step < length; ++step) h = y[place(step)] = a[place(step)] * h + b[place(step)];
    h_n[i] = h;
    for (long step = length - 1; step >= 0; --step) {
      g += s.ends ? dy[place(step)] : 0;
      db[place(step)] = g, da[place(step)] = g * (step ? y[place(step - 1)] : h0[i]), g *= a[place(step)];
    }
    dh0[i] = g;
  }
  const std::int64_t* lengths = s.with_lengths ? shape.lengths.data() : nullptr;
  Floats found_y = unset(all), found_h = unset(state), found_da = unset(all), found_db = unset(all),
         found_h0 = unset(state);
  const Layout layout{&kernels, 3, Recurrence::linear, s.reverse, s.batch, s.time, n, n, lengths};
  linear(layout, a.data(), b.data(), h0.data(), found_y.data(), found_h.data());
  linear_backward(layout, a.data(), h0.data(), found_y.data(), at(dy), dh.data(), found_da.data(), found_db.data(),
                  found_h0.data());
  compare(kernels, "linear y", found_y, y), compare(kernels, "linear h_n", found_h, h_n);
  compare(kernels, "linear da", found_da, da), compare(kernels, "linear db", found_db, db);
  compare(kernels, "linear dh0", found_h0, dh0);
}

// What a few steps make of the parameters, the last batch being smaller.
static std::vector<Floats> trained(const Kernels& kernels, Recurrence recurrence, bool with_lengths, int threads) {
  const long all = 7, time = 5, inputs = 3, hidden = 17, classes = 4;
  random_bits.seed(7);
  const Layout layout{&kernels, 1, recurrence, false, 1, time, inputs, hidden, nullptr};
  const Floats x = some(all * time * inputs);
  const std::vector<std::int64_t> y{0, 1, 2, 3, 0, 1, 2}, lengths{5, 0, 3, 5, 1, 2, 4}, order{6, 2, 5, 0, 1, 3, 4},
      starts{0, 5, 10, 15, 20, 25, 30};
  TrainingStep step(layout, classes,
                    {nullptr, x.data(), y.data(), starts.data(), with_lengths ? lengths.data() : nullptr,
                     Floats(inputs, 0.5f), Floats(inputs, 2.0f), Floats{1.0f, 3.0f, 0.5f, 2.0f}});
  std::vector<Floats> values, average, square, count;
  std::vector<Parameter> parameters;
  for (long n :
       {layout.rows() * inputs, layout.rows() * hidden, layout.rows(), layout.rows(), classes * hidden, classes})
    values.push_back(some(n)), average.emplace_back(n), square.emplace_back(n), count.emplace_back(1);
  for (std::size_t i = 0; i < values.size(); ++i)
    parameters.push_back(
        {values[i].data(), average[i].data(), square[i].data(), count[i].data(), long(values[i].size())});
  step.use(parameters, {true, 0.9, 0.999, 1e-8, 0.01, 1.0});
  for (const double loss : step.run(order.data(), all, 3, {time, time, time}, threads, {1e-2, 1e-2, 1e-2}).first)
    if (!(loss > 0 && loss < 1e3)) fail(kernels.name, "the loss of a training step", "is no loss");
  return values;
}

static void check_step(const Kernels& kernels) {
  for (int r = 0; r < 4; ++r)
    for (bool with_lengths : {false, true}) {
      const std::vector<Floats> one = trained(kernels, Recurrence(r), with_lengths, 1);
      const std::vector<Floats> three = trained(kernels, Recurrence(r), with_lengths, 3);
      for (std::size_t i = 0; i < one.size(); ++i)
        compare_bits(kernels.name, "a step", one[i], three[i], one[i].size());
    }
}

int main(int count, char** arguments) {
  const double most = count > 1 ? std::atof(arguments[1]) : 1e7;
  use_team(&team);
  std::vector<const Kernels*> all = available();
  for (const Kernels* kernels : {&wide, &wide_bf16, &wide_amx}) all.push_back(kernels);
  long scans = 0;
  unsigned turn = 0;  // of the options, so that every shape has some and every option many shapes
  for (long batch : {1, 3, 64})
    for (long time : {1, 2, 63})
      for (long hidden : {1, 17, 150, 256})
        for (long inputs : {1, 28})
          for (int r = 0; r < 5; ++r) {
            turn = turn * 5 + r + 1;
            const auto option = [&](int bit) { return (turn >> bit & 1) != 0; };
            const Recurrence recurrence = r < 4 ? Recurrence(r) : Recurrence::tanh;
            const Case c{recurrence, option(3), option(4), option(5), option(6),
                         option(7),  batch,     time,      inputs,    hidden};
            if (double(c.count()) * (r < 4 ? c.rows() * (hidden + inputs) : hidden) > most) continue;
            ++scans;
            if (r < 4) {
              const Plain plain(c);
              const bool flips = c.recurrence == Recurrence::relu && hidden == 1;  // rounded, the unit may be on or off
              for (const Kernels* kernels : all)
                if (!flips || kernels->pair == 1) {
                  check(*kernels, plain);
                  if (!c.reverse && !c.time_first && !c.ends) check_answer(*kernels, plain);
                }
            } else {
              for (const Kernels* kernels : all) check_linear(*kernels, c);
            }
          }
  for (const Kernels* kernels : all) check_step(*kernels);
  std::printf("sanitize: %ld scans right by", scans);
  for (const Kernels* kernels : all) std::printf(" %s", kernels->name);
  std::printf(", nothing found\n");
}
