// Runs the kernels of every instruction set that this processor has, and 16-wide ones, as Python does, in memory of
// exactly the size that scan.h asks for, and compares them with the plainest set, which Python's tests compare with torch.
// The programs are those of the compiler (tests/helpers/plain_programs.py). Built with sanitisers: make sanitize.
//
// usage: driver PROGRAMS MOST_PRODUCTS (of a scan; larger ones are left out)

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "answer.h"
#include "memory.h"
#include "passes.h"
#include "processor.h"
#include "reading.h"
#include "step.h"
#include "table.h"
#include "threads.h"

namespace unroll {
extern const Kernels wide, wide_bf16, wide_amx;
}  // namespace unroll

// A thread's scratch memory, new for each call: as large as asked for, and of numbers that nobody may use.
float* unroll::scratch(long floats) {
  static thread_local std::vector<float> numbers;
  std::vector<float>(floats, NAN).swap(numbers);
  return numbers.data();
}

using namespace unroll;
using Floats = std::vector<float>;
using AllFloats = std::vector<Floats>;
using Lengths = std::vector<std::int64_t>;

static std::mt19937 random_bits(0);

// In place of OpenMP's, whose own threads the sanitiser does not see through.
static void team(void (*function)(void*), void* data, unsigned threads, unsigned) {
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(function, data);
  function(data);
  for (auto& other : others) other.join();
}

// Floats on the heap; what is not set, and the padding behind, is NaN, so that whoever uses it is seen.
static Floats unset(long n, long padding = 0) { return Floats(n + padding, NAN); }

static Floats some(long n, float bound = 1) {
  Floats made(n);
  std::uniform_real_distribution<float> uniform(-bound, bound);
  for (float& value : made) value = uniform(random_bits);
  return made;
}

[[noreturn]] static void fail(const std::string& where, const std::string& what, const char* why) {
  std::printf("%s: %s %s\n", where.c_str(), what.c_str(), why);
  std::exit(1);
}

// The first `exact.size()` numbers, up to rounding.
static void compare(const Kernels& kernels, const std::string& where, const std::string& what, const Floats& found,
                    const Floats& exact) {
  double size = 1, worst = 0, norm = 0, error = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    if (!(std::fabs(found[i]) <= 1e30)) fail(where, what, "holds what is not a number");
    const double off = double(found[i]) - exact[i];
    size = std::fmax(size, std::fabs(exact[i])), worst = std::fmax(worst, std::fabs(off));
    norm += double(exact[i]) * exact[i], error += off * off;
  }
  // What rounds to bf16 is compared as a whole: a factor in the wrong place changes more than that.
  const bool right = kernels.pair > 1 ? std::sqrt(error) <= 0.1 * std::sqrt(norm) + 2e-2 * std::sqrt(exact.size())
                                      : worst <= 2e-5 * size;
  if (!right) fail(where, what, "is wrong");
}

static void compare(const Kernels& kernels, const std::string& where, const std::string& what, const AllFloats& found,
                    const AllFloats& exact) {
  for (std::size_t i = 0; i < exact.size(); ++i)
    if (!found[i].empty()) compare(kernels, where, what + " " + std::to_string(i), found[i], exact[i]);
}

static void compare_bits(const std::string& where, const std::string& what, const Floats& one, const Floats& other,
                         long n) {
  if (n && std::memcmp(one.data(), other.data(), n * sizeof(float)))
    fail(where, what, "depends on the number of threads");
}

static void compare_bits(const std::string& where, const std::string& what, const AllFloats& one,
                         const AllFloats& other, const AllFloats& exact) {
  for (std::size_t i = 0; i < exact.size(); ++i) compare_bits(where, what, one[i], other[i], exact[i].size());
}

// Numbers, and lists of them in parentheses, separated by commas.
static Nested parsed(const char*& at) {
  const auto skip = [&at](const char* all) { at += std::strspn(at, all); };
  Nested item{};
  skip(" \n");
  if (*at != '(') {
    char* end = nullptr;
    item.number = std::strtod(at, &end);
    if (end == at) fail("programs", std::string(at).substr(0, 20), "is not a number");
    at = end;
    return item;
  }
  item.is_list = true;
  for (++at, skip(" \n"); *at != ')'; skip(", \n")) item.items.push_back(parsed(at));
  ++at;
  return item;
}

struct Named {
  std::string name;
  ReadProgram program;
};

static std::deque<Named> programs_of(const char* path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::deque<Named> all;
  for (const char* at = text.c_str(); *at;) {
    const std::size_t line = std::strcspn(at, "\n");
    const std::string name(at, line);
    at += line + (at[line] == '\n');
    if (name.empty() || name[0] == '#') continue;
    const Nested fields = parsed(at);
    all.push_back({name, ReadProgram(fields)});
  }
  if (all.empty()) fail(path, "the file", "has no programs");
  return all;
}

struct Case {
  const Named& named;
  bool reverse, ragged, ends, time_first;
  long batch, time;

  const program::Program& program() const { return named.program; }
  long width(long part) const { return program().widths.items[part]; }
  long parts() const { return program().widths.count; }
  std::string name() const {
    return named.name + " (batch " + std::to_string(batch) + ", time " + std::to_string(time) +
           (reverse ? ", reverse" : "") + (ragged ? ", ragged" : "") + (ends ? ", ends)" : ")");
  }
};

static Lengths lengths_of(bool ragged, long batch, long time) {
  Lengths lengths;
  for (long b = 0; b < batch; ++b) lengths.push_back(!ragged || b % 3 == 2 ? time : b % 3 ? time / 2 + 1 : 0);
  return lengths;
}

static AllFloats tensors_of(const program::Program& program) {
  AllFloats tensors;
  const float bound = 1 / std::sqrt(float(program.widths.items[0]));
  for (const long size : program.sizes) tensors.push_back(some(size, bound));
  return tensors;
}

static Tensors read(const AllFloats& all) {
  Tensors at;
  for (const Floats& numbers : all) at.push_back(numbers.empty() ? nullptr : numbers.data());
  return at;
}

static Parts written(AllFloats& all) {
  Parts at;
  for (Floats& numbers : all) at.push_back(numbers.empty() ? nullptr : numbers.data());
  return at;
}

// What goes in; past each length are numbers that nobody may use.
struct Given {
  const Case& a;
  Lengths lengths;
  AllFloats tensors, initial, d_ends;  // the last two of each part of the state; without `ends` empty
  Floats x, dy;

  explicit Given(const Case& of) : a(of), lengths(lengths_of(of.ragged, of.batch, of.time)) {
    tensors = tensors_of(a.program());
    for (long i = 0; i < a.parts(); ++i) {
      const long numbers = a.ends ? a.batch * a.width(i) : 0;
      initial.push_back(some(numbers)), d_ends.push_back(some(numbers));
    }
    x = sequences(a.program().inputs), dy = sequences(a.width(0));
  }

  Floats sequences(long columns) const {
    Floats made = some(a.batch * a.time * columns);
    for (long b = 0; b < a.batch; ++b)
      for (long t = lengths[b]; t < a.time; ++t)
        std::fill_n(&made[(a.time_first ? t * a.batch + b : b * a.time + t) * columns], columns, NAN);
    return made;
  }

  const std::int64_t* lengths_or_null() const { return a.ragged ? lengths.data() : nullptr; }
};

// Which gradients are wanted: of every tensor but the `without`th, and all others or none of them.
struct Wanted {
  long without;
  bool others;
};

// One run of an instruction set's kernels; its memory is allocated anew, and is as large as it must be.
struct Run {
  AllFloats states, ends, starts, grads;
  Floats dx;

  Run(const Kernels& kernels, const Given& given, int threads, bool keeps, long stretch, Wanted wanted = {-1, true}) {
    const Case& a = given.a;
    const program::Program& p = a.program();
    const long padding = kernels.width * kernels.panel, slots = keeps ? a.time + 1 : 2, count = a.batch * a.time;
    const long to_next = a.time_first ? 1 : a.time, to_later = a.time_first ? a.batch : 1;
    const Layout layout{&kernels, threads, &p, a.reverse, a.batch, a.time, given.lengths_or_null()};
    for (long i = 0; i < a.parts(); ++i) {
      states.push_back(unset(slots * a.batch * a.width(i), padding));
      ends.push_back(unset(a.batch * a.width(i)));
    }
    Floats steps = unset(keeps ? count * p.inputs : 0, padding), kept = unset(keeps ? count * p.kept : 0, padding);
    forward(layout, read(given.tensors), given.x.data(), to_next * p.inputs, to_later * p.inputs, read(given.initial),
            written(states), slots, written(ends), keeps ? steps.data() : nullptr, keeps ? kept.data() : nullptr);
    if (!keeps) return;
    for (long i = 0; i < a.parts(); ++i) starts.push_back(a.ends ? given.d_ends[i] : Floats(a.batch * a.width(i)));
    for (long i = 0; i < p.sizes.count; ++i) grads.emplace_back(i == wanted.without ? 0 : p.sizes.items[i]);
    dx = unset(wanted.others ? count * p.inputs : 0);
    backward(layout, read(given.tensors), written(states), kept.data(), steps.data(), given.dy.data(),
             to_next * a.width(0), to_later * a.width(0), stretch, written(starts), wanted.others, written(grads),
             wanted.others ? dx.data() : nullptr);
  }
};

static AllFloats numbers_of_states(const Run& run, const Case& a, long slots) {
  AllFloats all;
  for (long i = 0; i < a.parts(); ++i)
    all.emplace_back(run.states[i].begin(), run.states[i].begin() + slots * a.batch * a.width(i));
  return all;
}

static void check(const Kernels& kernels, const Given& given, const Run& exact) {
  const Case& a = given.a;
  const std::string where = std::string(kernels.name) + ", " + a.name();
  const AllFloats states = numbers_of_states(exact, a, a.time + 1);
  const Run one(kernels, given, 1, true, 0), three(kernels, given, 3, true, 0), last(kernels, given, 2, false, 0);
  const Run few(kernels, given, 2, true, a.time / 3 + 1, {a.time % a.program().sizes.count, true});
  const Run single(kernels, given, 3, true, 1, {a.batch % a.program().sizes.count, false});
  for (const Run* run : {&one, &few, &single}) {
    compare(kernels, where, "state", run->states, states), compare(kernels, where, "end", run->ends, exact.ends);
    compare(kernels, where, "the gradient by tensor", run->grads, exact.grads);
    if (run == &single) continue;
    compare(kernels, where, "dx", run->dx, exact.dx);
    compare(kernels, where, "the gradient by initial state", run->starts, exact.starts);
  }
  compare(kernels, where, "end without gradients", last.ends, exact.ends);
  compare_bits(where, "state", one.states, three.states, states);
  compare_bits(where, "the gradient by tensor", one.grads, three.grads, exact.grads);
  compare_bits(where, "the gradient by initial state", one.starts, three.starts, exact.starts);
  compare_bits(where, "dx", one.dx, three.dx, exact.dx.size());
}

// Logits after a scan from zero: of x as it is, of x unscaled, and of bytes, which are x scaled beforehand as well.
static void check_answer(const Kernels& kernels, const Given& given, const Run& exact) {
  const Case& a = given.a;
  const std::string where = std::string(kernels.name) + ", " + a.name();
  const long classes = 11, n = a.width(0), inputs = a.program().inputs;
  const Floats w = some(classes * n), b = some(classes), mean(inputs, 0.25f), scale(inputs, 2.0f);
  Floats wanted(a.batch * classes);
  for (long i = 0; i < a.batch * classes; ++i) {
    double sum = b[i % classes];
    for (long u = 0; u < n; ++u) sum += double(w[i % classes * n + u]) * exact.ends[0][i / classes * n + u];
    wanted[i] = static_cast<float>(sum);
  }
  Floats raw, scaled;
  std::vector<std::uint8_t> bytes;
  for (const float x : given.x) {
    raw.push_back(x / 2 + 0.25f), bytes.push_back(static_cast<std::uint8_t>(std::isnan(x) ? 255 : 2 + 2 * x));
    scaled.push_back((bytes.back() - 0.25f) * 2.0f);
  }
  const auto logits = [&](const std::uint8_t* bytes, const float* floats, bool scales, int threads) {
    const Layout layout{&kernels, threads, &a.program(), a.reverse, a.batch, a.time, given.lengths_or_null()};
    const Source from{bytes, floats, scales ? mean.data() : nullptr, scales ? scale.data() : nullptr};
    Floats found = unset(a.batch * classes);
    answer(layout, from, read(given.tensors), w.data(), b.data(), classes, found.data());
    return found;
  };
  compare(kernels, where, "logits", logits(nullptr, given.x.data(), false, 3), wanted);
  compare(kernels, where, "logits of raw floats", logits(nullptr, raw.data(), true, 1), wanted);
  const Floats found = logits(nullptr, scaled.data(), false, 2);
  compare(kernels, where, "logits of bytes", logits(bytes.data(), nullptr, true, 3), found);
}

static void check_linear(const Kernels& kernels, bool reverse, bool ragged, bool outputs, long batch, long time,
                         long n) {
  const long state = batch * n, all = batch * time * n;
  const Lengths lengths = lengths_of(ragged, batch, time);
  const Floats a = some(all), b = some(all), h0 = some(state), dy = some(outputs ? all : 0), dh = some(state);
  Floats y(all), h_n(state), da(all), db(all), dh0(state);
  for (long i = 0; i < state; ++i) {
    const long row = i / n, u = i % n, length = lengths[row];
    const auto place = [&](long step) { return (row * time + (reverse ? length - 1 - step : step)) * n + u; };
    float h = h0[i], g = dh[i];
    for (long step = 0; step < length; ++step) h = y[place(step)] = a[place(step)] * h + b[place(step)];
    h_n[i] = h;
    for (long step = length - 1; step >= 0; --step) {
      g += outputs ? dy[place(step)] : 0;
      db[place(step)] = g, da[place(step)] = g * (step ? y[place(step - 1)] : h0[i]), g *= a[place(step)];
    }
    dh0[i] = g;
  }
  const std::int64_t* const until = ragged ? lengths.data() : nullptr;
  Floats of_y = unset(all), of_h = unset(state), of_da = unset(all), of_db = unset(all), of_h0 = unset(state);
  linear(kernels, 3, {reverse, batch, time, n, until, a.data(), b.data(), h0.data(), of_y.data(), of_h.data()});
  linear_backward(kernels, 3,
                  {reverse, batch, time, n, until, a.data(), h0.data(), of_y.data(), outputs ? dy.data() : nullptr,
                   dh.data(), of_da.data(), of_db.data(), of_h0.data()});
  const std::string where = std::string(kernels.name) + ", linear";
  compare(kernels, where, "y", of_y, y), compare(kernels, where, "h_n", of_h, h_n);
  compare(kernels, where, "da", of_da, da), compare(kernels, where, "db", of_db, db);
  compare(kernels, where, "dh0", of_h0, dh0);
}

// What a few steps make of the parameters, the last batch being smaller. A large eps makes the steps smooth.
static AllFloats trained(const Kernels& kernels, const Named& named, bool ragged, int threads) {
  const long all = 7, time = 5, inputs = named.program.inputs, classes = 4;
  random_bits.seed(7);
  const Layout layout{&kernels, 1, &named.program, false, 1, time, nullptr};
  const Floats x = some(all * time * inputs);
  const Lengths y{0, 1, 2, 3, 0, 1, 2}, lengths{5, 0, 3, 5, 1, 2, 4}, order{6, 2, 5, 0, 1, 3, 4},
      starts{0, 5, 10, 15, 20, 25, 30};
  TrainingStep step(layout, classes,
                    {nullptr, x.data(), y.data(), starts.data(), ragged ? lengths.data() : nullptr,
                     Floats(inputs, 0.5f), Floats(inputs, 2.0f), Floats{1.0f, 3.0f, 0.5f, 2.0f}, 0.1f});
  AllFloats values = tensors_of(named.program), average, square, count;
  values.push_back(some(classes * named.program.widths.items[0])), values.push_back(some(classes));
  std::vector<Parameter> parameters;
  for (const Floats& numbers : values)
    average.emplace_back(numbers.size()), square.emplace_back(numbers.size()), count.emplace_back(1);
  for (std::size_t i = 0; i < values.size(); ++i)
    parameters.push_back(
        {values[i].data(), average[i].data(), square[i].data(), count[i].data(), long(values[i].size())});
  step.use(parameters, {true, 0.9, 0.999, 0.1, 0.01, 1.0});
  for (const double loss : step.run(order.data(), all, 3, {time, time, time}, threads, {1e-1, 1e-1, 1e-1}).first)
    if (!(loss > 0 && loss < 1e3)) fail(kernels.name, "the loss of a training step", "is no loss");
  return values;
}

static void check_step(const std::vector<const Kernels*>& all, const Named& named) {
  for (bool ragged : {false, true}) {
    const AllFloats exact = trained(generic, named, ragged, 1);
    for (const Kernels* kernels : all) {
      const std::string where = std::string(kernels->name) + ", a training step of " + named.name;
      const AllFloats one = trained(*kernels, named, ragged, 1), three = trained(*kernels, named, ragged, 3);
      compare(*kernels, where, "parameter", one, exact);
      compare_bits(where, "parameter", one, three, exact);
    }
  }
}

// A table after some steps, whose rows take them late; or all at each step.
static AllFloats stepped(const Kernels& kernels, bool late, int threads) {
  const long rows = 9, width = 19, some_rows = 3;
  random_bits.seed(11);
  AllFloats table{some(rows * width), Floats(rows * width), Floats(rows * width)};
  Table waiting(kernels, table[0].data(), table[1].data(), table[2].data(), rows, width);
  for (long step = 0; step < 6; ++step) {
    const Lengths read{step, (step + 4) % rows, 8};
    const Floats gradients = some(some_rows * width);
    waiting.take(read.data(), some_rows, nullptr, threads);
    waiting.add({nullptr, nullptr, nullptr, nullptr, 1, 0, 0.99f, 0.1f, 0.001f, 0.1f / (step + 1), 0.1f});
    waiting.take(read.data(), some_rows, gradients.data(), threads);
    if (!late) waiting.take(nullptr, 0, nullptr, threads);
  }
  const Lengths none{-1, rows};
  waiting.take(none.data(), 2, nullptr, threads);
  waiting.take(nullptr, 0, nullptr, threads);
  return table;
}

static void check_table(const std::vector<const Kernels*>& all) {
  const AllFloats exact = stepped(generic, false, 1);
  for (const Kernels* kernels : all) {
    const std::string where = std::string(kernels->name) + ", steps of a table";
    const AllFloats one = stepped(*kernels, true, 1);
    compare(*kernels, where, "part", one, exact);
    compare_bits(where, "part", one, stepped(*kernels, true, 3), exact);
    compare_bits(where + " at once", "part", one, stepped(*kernels, false, 1), exact);
  }
}

// Of a scan forwards, roughly.
static double products(const program::Program& program) {
  double all = program.widths.items[0];
  for (const program::Gradient& gradient : program.gradients) all += double(gradient.columns) * gradient.factors;
  return all;
}

int main(int count, char** arguments) {
  if (count != 3) fail("driver", "PROGRAMS MOST_PRODUCTS", "are missing");
  const double most = std::atof(arguments[2]);
  use_team(&team);
  std::vector<const Kernels*> all = available();
  for (const Kernels* kernels : {&wide, &wide_bf16, &wide_amx}) all.push_back(kernels);
  const std::deque<Named> programs = programs_of(arguments[1]);
  long scans = 0;
  unsigned turn = 0;  // of the options, so that every shape has some and every option many shapes
  for (const Named& named : programs) {
    for (long batch : {1, 3, 33, 70})
      for (long time : {1, 2, 7, 40}) {
        turn = turn * 5 + 3;
        if (batch * time * products(named.program) > most) continue;
        const auto option = [&](int bit) { return (turn >> bit & 1) != 0; };
        const Case a{named, option(4), option(5), option(6), option(7), batch, time};
        const Given given(a);
        const Run exact(generic, given, 1, true, time);
        for (const Kernels* kernels : all) {
          check(*kernels, given, exact);
          if (!a.time_first && !a.ends) check_answer(*kernels, given, exact);
        }
        ++scans;
      }
    if (35 * products(named.program) <= 30 * most) check_step(all, named);  // of 7 sequences of 5 time steps
  }
  check_table(all);
  for (const Kernels* kernels : all)
    for (long options = 0; options < 8; ++options)
      check_linear(*kernels, options & 1, options & 2, options & 4, 1 + options % 3, 1 + 3 * options, 17), ++scans;
  std::printf("sanitize: %ld scans right by", scans);
  for (const Kernels* kernels : all) std::printf(" %s", kernels->name);
  std::printf(", nothing found\n");
}
