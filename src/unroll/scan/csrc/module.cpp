// What Python sees: the kernels by address. No header of torch is needed, so one build fits every torch.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

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

template <class T>
static T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Arrange weights as panels: for PANEL units each factor's weights side by side, `depth` factors in all.
// `from` is (units, factors), or (factors, units) if `transposed`.
static void pack(float* to, const float* from, long units, long factors, bool transposed, long panel, long depth) {
  for (long unit = 0; unit < units; unit += panel) {
    for (long i = 0; i < factors; ++i)
      for (long u = 0; u < panel; ++u) {
        const long at = unit + u;
        to[unit * depth + i * panel + u] = at >= units ? 0.0f : transposed ? from[i * units + at] : from[at * factors + i];
      }
  }
}

static std::vector<float> room(long units, long depth, long panel) {
  return std::vector<float>((units + panel - 1) / panel * panel * depth);
}

static void rnn_forward(
    const std::string& isa, int threads, bool relu, long batch, long time, long inputs, long hidden, std::uintptr_t x,
    std::uintptr_t w_ih, std::uintptr_t w_hh, std::uintptr_t bias, std::uintptr_t h) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  const long panel = kernels.panel, depth = 1 + inputs + hidden;
  std::vector<float> packed = room(hidden, depth, panel);
  if (bias) pack(packed.data(), at<float>(bias), hidden, 1, false, panel, depth);
  pack(packed.data() + panel, at<float>(w_ih), hidden, inputs, false, panel, depth);
  pack(packed.data() + (1 + inputs) * panel, at<float>(w_hh), hidden, hidden, false, panel, depth);
  const Forward a{at<float>(x), at<float>(h), packed.data(), batch, time, inputs, hidden, relu};
  split(batch, threads, [&](long begin, long end) { kernels.forward(a, begin, end); });
}

static void rnn_backward(
    const std::string& isa, int threads, bool relu, long batch, long time, long hidden, std::uintptr_t w_hh,
    std::uintptr_t h, std::uintptr_t dy, long dy_batch, long dy_time, std::uintptr_t dh, std::uintptr_t d,
    std::uintptr_t dh0) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  std::vector<float> packed = room(hidden, hidden, kernels.panel);
  pack(packed.data(), at<float>(w_hh), hidden, hidden, true, kernels.panel, hidden);
  const Backward a{at<float>(h),   at<float>(dy),  dy_batch, dy_time, at<float>(dh), at<float>(d),
                   at<float>(dh0), packed.data(), batch,    time,    hidden,        relu};
  split(batch, threads, [&](long begin, long end) { kernels.backward(a, begin, end); });
}

static void weight_gradient(
    const std::string& isa, int threads, long n, long hidden, long k, std::uintptr_t d, std::uintptr_t from,
    std::uintptr_t dw) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  const Weights a{at<float>(d), at<float>(from), at<float>(dw), n, hidden, k};
  split(hidden, threads, [&](long begin, long end) { kernels.weights(a, begin, end); });
}

static void input_gradient(
    const std::string& isa, int threads, long n, long hidden, long k, std::uintptr_t d, std::uintptr_t w,
    std::uintptr_t out) {
  nb::gil_scoped_release unlocked;
  const Kernels& kernels = named(isa);
  std::vector<float> packed = room(k, hidden, kernels.panel);
  pack(packed.data(), at<float>(w), k, hidden, true, kernels.panel, hidden);
  const Inputs a{at<float>(d), packed.data(), at<float>(out), n, hidden, k};
  split(n, threads, [&](long begin, long end) { kernels.inputs(a, begin, end); });
}

static std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const Kernels* kernels : available()) found.push_back(kernels->name);
  return found;
}

}  // namespace unroll

NB_MODULE(_kernels, m) {
  m.doc() = "Fused scans in C++; called by unroll.scan.cpu, which checks what goes in.";
  m.def("instruction_sets", &unroll::names);
  m.def("rnn_forward", &unroll::rnn_forward);
  m.def("rnn_backward", &unroll::rnn_backward);
  m.def("weight_gradient", &unroll::weight_gradient);
  m.def("input_gradient", &unroll::input_gradient);
}
