// What Python sees: the kernels by address. No header of torch is needed, so one build fits every torch.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "pack.h"
#include "scan.h"
#include "threads.h"

namespace nb = nanobind;

namespace unroll {

extern const Kernels generic;
#ifdef UNROLL_X86
extern const Kernels avx2, avx512;
#endif

// The instruction sets that were compiled and that this processor has, best first.
static std::vector<const Kernels*> available() {
  std::vector<const Kernels*> found;
#ifdef UNROLL_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    found.push_back(&avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2);
#endif
  found.push_back(&generic);
  return found;
}

static const Kernels& named(const std::string& isa) {
  for (const Kernels* kernels : available())
    if (isa == kernels->name) return *kernels;
  throw nb::value_error(("this processor has no " + isa).c_str());
}

using Address = std::uintptr_t;
using Strides = std::tuple<long, long>;  // of batch and time, in floats

template <class T = float>
static T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// What the passes of a recurrence share, as Python gives it.
struct Layout {
  std::string isa;
  int threads;
  Recurrence recurrence;
  bool reverse;
  long batch, time, inputs, hidden;
  Address lengths;

  Scan scan(Address h, Address c, Address gates, long slots) const {
    return {recurrence, reverse, batch, time, inputs, hidden, at<std::int64_t>(lengths), at(h), at(c), slots, at(gates)};
  }
  long columns() const { return gates_of(recurrence) * hidden; }
};

static Recurrence recurrence(const std::string& name) {
  if (name == "tanh") return Recurrence::tanh;
  if (name == "relu") return Recurrence::relu;
  if (name == "gru") return Recurrence::gru;
  if (name == "lstm") return Recurrence::lstm;
  throw nb::value_error(("no kernel knows the recurrence " + name).c_str());
}

// Sums of the biases; for gru W_hn h + b_hn is a product of its own.
static Numbers biases(const Layout& a, const float* b_ih, const float* b_hh, long room) {
  const long hidden = a.hidden, columns = a.columns();
  Numbers sums(columns + room);
  if (!b_ih) return sums;
  const bool gru = a.recurrence == Recurrence::gru;
  const long both = gru ? 2 * hidden : columns;
  for (long u = 0; u < both; ++u) sums[u] = b_ih[u] + b_hh[u];
  for (long u = both; gru && u < both + hidden; ++u) sums[u] = b_hh[u], sums[u + hidden] = b_ih[u];
  return sums;
}

static void forward(
    const Layout& a, Address x, Strides x_strides, Address w_ih, Address w_hh, Address b_ih, Address b_hh, Address h, Address c,
    long slots, Address gates) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(a.isa);
  const long inputs = a.inputs, hidden = a.hidden;
  const Numbers bias = biases(a, at(b_ih), at(b_hh), kernels.width * kernels.panel);
  const auto x_part = [&](long first) { return Matrix{at(w_ih) + first * inputs, inputs, 1, inputs}; };
  const auto h_part = [&](long first) { return Matrix{at(w_hh) + first * hidden, hidden, 1, hidden}; };
  Forward f{a.scan(h, c, gates, slots), at(x), std::get<0>(x_strides), std::get<1>(x_strides), {}, 1};
  const long both = a.recurrence == Recurrence::gru ? 2 * hidden : a.columns();
  Numbers packed = pack(kernels, both, {x_part(0), h_part(0)}), of_h, of_x;
  f.products[0] = {both, packed.data(), bias.data(), true, true};
  if (a.recurrence == Recurrence::gru) {
    of_h = pack(kernels, hidden, {h_part(both)});
    of_x = pack(kernels, hidden, {x_part(both)});
    f.products[1] = {hidden, of_h.data(), bias.data() + both, false, true};
    f.products[2] = {hidden, of_x.data(), bias.data() + both + hidden, true, false};
    f.count = 3;
  }
  split(a.batch, a.threads, [&](long begin, long end) {
    Numbers scratch(kernels.scratch(f));
    kernels.forward(f, begin, end, scratch.data());
  });
}

static void backward(
    const Layout& a, Address w_hh, Address h, Address c, Address gates, Address dy, Strides dy_strides, Address dh, Address dc,
    Address d, Address dh0, Address dc0) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(a.isa);
  const long rows = a.recurrence == Recurrence::gru ? 3 * a.hidden : a.columns();
  const Numbers packed = pack(kernels, a.hidden, {{at(w_hh), 1, a.hidden, rows}});
  const Backward b{a.scan(h, c, gates, a.time + 1), at(dy), std::get<0>(dy_strides), std::get<1>(dy_strides), at(dh), at(dc),
                   packed.data(),             at(d),  at(dh0),                 at(dc0)};
  split(a.batch, a.threads, [&](long begin, long end) {
    Numbers scratch(kernels.scratch(b));
    kernels.backward(b, begin, end, scratch.data());
  });
}

// The gradients of the weights; h: the states before the steps. db (columns): of all products, both biases of gru in one.
static void gradients(const Layout& a, Address d, Address x, Address h, Address dw_ih, Address dw_hh, Address db) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(a.isa);
  const long inputs = a.inputs, hidden = a.hidden, columns = a.columns();
  const Numbers one(1 + kernels.width * kernels.panel, 1.0f);
  Gradients g{at(d), a.time * a.batch, columns, {}, 0};
  const bool gru = a.recurrence == Recurrence::gru;
  const long both = gru ? 2 * hidden : columns;
  g.parts[g.count++] = {0, both, at(x), inputs, inputs, at(dw_ih)};
  if (gru) g.parts[g.count++] = {both + hidden, hidden, at(x), inputs, inputs, at(dw_ih) + both * inputs};
  g.parts[g.count++] = {0, gru ? 3 * hidden : columns, at(h), hidden, hidden, at(dw_hh)};
  if (db) g.parts[g.count++] = {0, columns, one.data(), 0, 1, at(db)};
  split(columns, a.threads, [&](long begin, long end) {
    Numbers scratch(kernels.gradients_scratch(g));
    kernels.gradients(g, begin, end, scratch.data());
  });
}

static void input_gradient(const Layout& a, Address d, Address w_ih, Address out) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(a.isa);
  const long hidden = a.hidden, inputs = a.inputs, columns = a.columns();
  const bool gru = a.recurrence == Recurrence::gru;
  const long before = gru ? 2 * hidden : columns, n = a.time * a.batch;
  const Numbers packed = pack(kernels, inputs, {{at(w_ih), 1, inputs, gru ? 3 * hidden : columns}});
  const Inputs i{at(d), n, columns, before, gru ? hidden : 0, packed.data(), at(out), inputs};
  split(n, a.threads, [&](long begin, long end) { kernels.inputs(i, begin, end); });
}

static void linear(
    const std::string& isa, int threads, bool reverse, long batch, long time, long hidden, Address lengths, Address a, Address b,
    Address h0, Address y, Address h_n) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  const Linear l{reverse, batch, time, hidden, at<std::int64_t>(lengths), at(a), at(b), at(h0), at(y), at(h_n)};
  split(batch, threads, [&](long begin, long end) { kernels.linear(l, begin, end); });
}

static void linear_backward(
    const std::string& isa, int threads, bool reverse, long batch, long time, long hidden, Address lengths, Address a,
    Address h0, Address y, Address dy, Address dh, Address da, Address db, Address dh0) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  const LinearBackward l{reverse, batch,  time,   hidden, at<std::int64_t>(lengths), at(a), at(h0), at(y),
                         at(dy),  at(dh), at(da), at(db), at(dh0)};
  split(batch, threads, [&](long begin, long end) { kernels.linear_backward(l, begin, end); });
}

static std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const Kernels* kernels : available()) found.push_back(kernels->name);
  return found;
}

}  // namespace unroll

NB_MODULE(_kernels, m) {
  using namespace unroll;
  m.doc() = "Fused scans in C++; called by unroll.scan.cpu, which checks what goes in. Tensors are addresses, 0 is none.";
  m.def("instruction_sets", &names);
  nb::class_<Layout>(m, "Layout")
      .def(
          "__init__",
          [](Layout* self, const std::string& isa, int threads, const std::string& name, bool reverse, long batch, long time,
             long inputs, long hidden, Address lengths) {
            new (self) Layout{isa, threads, recurrence(name), reverse, batch, time, inputs, hidden, lengths};
          },
          nb::arg("isa"), nb::arg("threads"), nb::arg("recurrence"), nb::arg("reverse"), nb::arg("batch"), nb::arg("time"),
          nb::arg("inputs"), nb::arg("hidden"), nb::arg("lengths"));
  m.def("forward", &forward);
  m.def("backward", &backward);
  m.def("gradients", &gradients);
  m.def("input_gradient", &input_gradient);
  m.def("linear", &linear);
  m.def("linear_backward", &linear_backward);
}
