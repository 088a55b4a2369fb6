// The Python bindings, which take addresses. Without torch's headers, one build works with every version of torch.

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <vector>

#include "answer.h"
#include "passes.h"
#include "processor.h"
#include "reading.h"
#include "step.h"
#include "table.h"
#include "threads.h"

namespace nb = nanobind;

namespace unroll {

static const Kernels& named(const std::string& isa) {
  for (const Kernels* kernels : available())
    if (isa == kernels->name) return *kernels;
  throw nb::value_error(("this processor has no " + isa).c_str());
}

// Python passes pointers as integers; the GIL is released during a call.
template <class T>
static T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

static Nested nested(nb::handle from) {
  Nested all{};
  if (from.is_none() || nb::isinstance<nb::tuple>(from)) {
    all.is_list = true;
    if (!from.is_none())
      for (nb::handle item : nb::cast<nb::tuple>(from)) all.items.push_back(nested(item));
  } else if (!nb::try_cast<double>(from, all.number)) {
    throw nb::value_error("no program for the kernels: an item is neither a tuple nor a number");
  }
  return all;
}

static void check_counts(const Layout& a, std::size_t tensors, const std::vector<std::size_t>& parts) {
  if (tensors != static_cast<std::size_t>(a.program->sizes.count))
    throw nb::value_error("the program has another number of tensors");
  for (const std::size_t count : parts)
    if (count != static_cast<std::size_t>(a.program->widths.count))
      throw nb::value_error("the program has another number of parts of the state");
}

template <class T>
static std::vector<T*> all_at(const std::vector<std::uintptr_t>& addresses) {
  std::vector<T*> all;
  for (const std::uintptr_t address : addresses) all.push_back(at<T>(address));
  return all;
}

using Addresses = std::vector<std::uintptr_t>;

static void forward_by_address(const Layout& a, const Addresses& tensors, std::uintptr_t x, long x_batch, long x_time,
                               const Addresses& initial, const Addresses& states, long slots, const Addresses& ends,
                               std::uintptr_t steps, std::uintptr_t kept) {
  check_counts(a, tensors.size(), {initial.size(), states.size(), ends.size()});
  nb::gil_scoped_release unlocked;
  forward(a, all_at<const float>(tensors), at<const float>(x), x_batch, x_time, all_at<const float>(initial),
          all_at<float>(states), slots, all_at<float>(ends), at<float>(steps), at<float>(kept));
}

static void backward_by_address(const Layout& a, const Addresses& tensors, const Addresses& states, std::uintptr_t kept,
                                std::uintptr_t steps, std::uintptr_t dy, long dy_batch, long dy_time, long stretch,
                                const Addresses& ends, bool wants_initial, const Addresses& grads, std::uintptr_t dx) {
  check_counts(a, tensors.size(), {states.size(), ends.size()});
  check_counts(a, grads.size(), {});
  if (a.program->kept && !kept) throw nb::value_error("the backward pass needs what the forward pass kept");
  nb::gil_scoped_release unlocked;
  backward(a, all_at<const float>(tensors), all_at<float>(states), at<float>(kept), at<const float>(steps),
           at<const float>(dy), dy_batch, dy_time, stretch, all_at<float>(ends), wants_initial, all_at<float>(grads),
           at<float>(dx));
}

static void answer_by_address(const Layout& a, const Addresses& source, const Addresses& tensors, std::uintptr_t weight,
                              std::uintptr_t bias, long classes, std::uintptr_t logits) {
  check_counts(a, tensors.size(), {});
  nb::gil_scoped_release unlocked;
  answer(a,
         {at<const std::uint8_t>(source.at(0)), at<const float>(source.at(1)), at<const float>(source.at(2)),
          at<const float>(source.at(3))},
         all_at<const float>(tensors), at<const float>(weight), at<const float>(bias), classes, at<float>(logits));
}

// The sizes and lengths of a linear scan, for both directions.
template <class Direction>
static Direction linear_scan(bool reverse, long batch, long time, long hidden, std::uintptr_t lengths) {
  Direction scan{};
  scan.reverse = reverse, scan.batch = batch, scan.time = time, scan.hidden = hidden;
  scan.lengths = at<const std::int64_t>(lengths);
  return scan;
}

static std::vector<std::string> names(bool bf16) {
  std::vector<std::string> sets;
  for (const Kernels* kernels : available())
    if ((kernels->pair > 1) == bf16) sets.push_back(kernels->name);
  return sets;
}

}  // namespace unroll

NB_MODULE(_kernels, m) {
  using namespace unroll;
  nb::set_leak_warnings(false);  // programs live as long as Python does
  m.doc() = "Fused scans in C++ (csrc/passes.h); called by unroll.scan.cpu, which checks what goes in.";
  m.def("instruction_sets", &names, "Those that this processor has, best first: for products in float32, or in bf16.");
  nb::class_<ReadProgram>(m, "Program", "A recurrence that the machine can carry out (unroll/compiler/program.py).")
      .def("__init__", [](ReadProgram* self, const nb::tuple& fields) { new (self) ReadProgram(nested(fields)); });
  nb::class_<Layout>(m, "Layout", "A program, direction and sizes of a scan.")
      .def(
          "__init__",
          [](Layout* self, const std::string& isa, int threads, const ReadProgram& program, bool reverse, long batch,
             long time, std::uintptr_t lengths) {
            new (self) Layout{&named(isa), threads, &program, reverse, batch, time, at<const std::int64_t>(lengths)};
          },
          nb::keep_alive<1, 4>());
  m.def("forward", &forward_by_address);
  m.def("backward", &backward_by_address);
  m.def(
      "use_team", [](std::uintptr_t gomp_parallel) { use_team(reinterpret_cast<Team>(gomp_parallel)); },
      "Share work with the OpenMP runtime whose GOMP_parallel is at this address.");
  nb::class_<TrainingStep>(m, "TrainingStep", "A training step of a classifier of one layer (csrc/step.h).")
      .def(
          "__init__",
          [](TrainingStep* self, const Layout& layout, long classes, std::uintptr_t bytes, std::uintptr_t floats,
             std::uintptr_t y, std::uintptr_t starts, std::uintptr_t lengths, const std::vector<float>& mean,
             const std::vector<float>& scale, const std::vector<float>& weights, float smoothing) {
            new (self) TrainingStep(
                layout, classes,
                {at<const std::uint8_t>(bytes), at<const float>(floats), at<const std::int64_t>(y),
                 at<const std::int64_t>(starts), at<const std::int64_t>(lengths), mean, scale, weights, smoothing});
          },
          nb::keep_alive<1, 2>())
      .def("use",
           [](TrainingStep& self, const std::vector<Addresses>& parameters, bool decoupled, double beta1, double beta2,
              double eps, double weight_decay, double clip) {
             std::vector<Parameter> all;
             for (const auto& p : parameters)
               all.push_back({at<float>(p.at(0)), at<float>(p.at(1)), at<float>(p.at(2)), at<float>(p.at(3)),
                              static_cast<long>(p.at(4))});
             self.use(all, {decoupled, beta1, beta2, eps, weight_decay, clip});
           })
      .def("run", [](TrainingStep& self, std::uintptr_t order, long n, long batch, const std::vector<long>& times,
                     int threads, const std::vector<double>& rates) {
        nb::gil_scoped_release unlocked;
        return self.run(at<const std::int64_t>(order), n, batch, times, threads, rates);
      });
  nb::class_<Table>(m, "Table", "A table whose rows take steps of Adam when they are needed (csrc/table.h).")
      .def("__init__",
           [](Table* self, const std::string& isa, std::uintptr_t values, std::uintptr_t average, std::uintptr_t square,
              long rows, long width) {
             new (self) Table(named(isa), at<float>(values), at<float>(average), at<float>(square), rows, width);
           })
      .def("add",
           [](Table& self, bool decoupled, double beta1, double beta2, double eps, double weight_decay, double lr,
              double number) { self.add(Adam{decoupled, beta1, beta2, eps, weight_decay, 0}.factors(lr, number, 1)); })
      .def("take", [](Table& self, std::uintptr_t rows, long n, std::uintptr_t gradients, int threads) {
        nb::gil_scoped_release unlocked;
        self.take(at<const std::int64_t>(rows), n, at<const float>(gradients), threads);
      });
  m.def("answer", &answer_by_address);
  m.def("linear", [](const std::string& isa, int threads, bool reverse, long batch, long time, long hidden,
                     std::uintptr_t lengths, const Addresses& tensors) {
    Linear scan = linear_scan<Linear>(reverse, batch, time, hidden, lengths);
    scan.a = at<const float>(tensors.at(0)), scan.b = at<const float>(tensors.at(1));
    scan.h0 = at<const float>(tensors.at(2)), scan.y = at<float>(tensors.at(3)), scan.h_n = at<float>(tensors.at(4));
    nb::gil_scoped_release unlocked;
    linear(named(isa), threads, scan);
  });
  m.def("linear_backward", [](const std::string& isa, int threads, bool reverse, long batch, long time, long hidden,
                              std::uintptr_t lengths, const Addresses& tensors) {
    LinearBackward scan = linear_scan<LinearBackward>(reverse, batch, time, hidden, lengths);
    scan.a = at<const float>(tensors.at(0)), scan.h0 = at<const float>(tensors.at(1));
    scan.y = at<const float>(tensors.at(2)), scan.dy = at<const float>(tensors.at(3));
    scan.dh = at<const float>(tensors.at(4)), scan.da = at<float>(tensors.at(5));
    scan.db = at<float>(tensors.at(6)), scan.dh0 = at<float>(tensors.at(7));
    nb::gil_scoped_release unlocked;
    linear_backward(named(isa), threads, scan);
  });
}
