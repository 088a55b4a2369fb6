// What Python sees: the kernels by address. No header of torch is needed, so one build fits every torch.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "passes.h"

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

static Recurrence recurrence(const std::string& name) {
  if (name == "tanh") return Recurrence::tanh;
  if (name == "relu") return Recurrence::relu;
  if (name == "gru") return Recurrence::gru;
  if (name == "lstm") return Recurrence::lstm;
  if (name == "linear") return Recurrence::linear;
  throw nb::value_error(("no kernel knows the recurrence " + name).c_str());
}

// Python gives pointers as numbers; meanwhile others may run.
template <class T>
using FromPython = std::conditional_t<std::is_pointer_v<T>, std::uintptr_t, T>;

template <class T>
static T to_cpp(FromPython<T> value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<T>(value);
  else
    return value;
}

template <class... Args>
static auto by_address(void (*pass)(const Layout&, Args...)) {
  return [pass](const Layout& layout, FromPython<Args>... args) {
    nb::gil_scoped_release unlocked;
    pass(layout, to_cpp<Args>(args)...);
  };
}

static std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const Kernels* kernels : available()) found.push_back(kernels->name);
  return found;
}

}  // namespace unroll

NB_MODULE(_kernels, m) {
  using namespace unroll;
  m.doc() = "Fused scans in C++ (csrc/passes.h); called by unroll.scan.cpu, which checks what goes in.";
  m.def("instruction_sets", &names);
  nb::class_<Layout>(m, "Layout")
      .def("__init__", [](Layout* self, const std::string& isa, int threads, const std::string& name, bool reverse, long batch,
                          long time, long inputs, long hidden, std::uintptr_t lengths) {
        new (self) Layout{&named(isa), threads, recurrence(name), reverse, batch, time, inputs, hidden,
                          reinterpret_cast<const std::int64_t*>(lengths)};
      });
  m.def("forward", by_address(&forward));
  m.def("backward", by_address(&backward));
  m.def("linear", by_address(&linear));
  m.def("linear_backward", by_address(&linear_backward));
}
