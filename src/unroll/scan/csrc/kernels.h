// The kernels, written once: each instruction set's source defines ISA, WIDTH (floats of a register), VECS (registers of
// a panel) and MOST_ROWS (of a tile), BF16 and AMX where products are in bf16 and in AMX's tiles, and includes this.
//
// A group of the batch goes through all time steps before the next group, so threads synchronise once per call. No templates
// of the standard library are used, as the linker might pick this instruction set's version of them for all.

#ifdef __AVX2__
#include <immintrin.h>
#elif defined(UNROLL_X86)
#include <xmmintrin.h>
#endif

#include <cstring>

#include "bfloat16.h"
#include "scan.h"

#define NAME_OF(x) #x
#define NAME(x) NAME_OF(x)
#define CONCAT_OF(x, y) x##y
#define CONCAT(x, y) CONCAT_OF(x, y)

#include "vectors.h"

#include "weights.h"

#ifdef AMX
#include "tiles.h"
#else
#include "products.h"
#endif

#include "functions.h"

namespace unroll {
namespace CONCAT(in_, ISA) {

// GROUP: sequences that take each step together, so that each panel of the weights is read once for them. BLOCK: rows of d,
// x and h that stay in the cache between two tiles of dw. CHUNK: columns of dw updated by a block at once. SHARE: fewest
// sequences per thread.
#ifdef AMX
constexpr long GROUP = 32, SHARE = 32, BLOCK = 512;
#else
constexpr long GROUP = 40, SHARE = 16, BLOCK = 128;
#endif
constexpr long CHUNK = 320;

static inline long rounded(long n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

// Floats for a row of a left side; see as_left.
static inline long left_room(long k) { return PAIR > 1 ? places(k) + WIDTH : 0; }

static inline long group(long batch) { return batch < GROUP ? batch : GROUP; }

// sum[u] += the sum of d[.., u] over the rows, for a number of columns; no factor is rounded.
static void add_rows(float* sum, const float* d, long row, long rows, long columns) {
  constexpr int MOST = 8;  // registers at once
  for (long u = 0; u < columns; u += MOST * WIDTH)
    with_count<MOST>((columns - u + WIDTH - 1) / WIDTH, [&](auto used) {
      constexpr int USED = decltype(used)::value;
      Vec sums[USED] = {};
      for (long r = 0; r < rows; ++r)
        for (int v = 0; v < USED; ++v) sums[v] += load(d + r * row + u + v * WIDTH);
      for (int v = 0; v < USED; ++v) {
        float* const to = sum + u + v * WIDTH;
        const long there = columns - u - v * WIDTH;
        store(to, load(to, there) + sums[v], there);
      }
    });
}

// The contents of add_product's scratch memory.
struct Laid {
  const float* left;
  long rows;
};

// The factor with fewer registers is on the left, which is read value by value; with tiles it is always d.
static void add_gradient(const Gradients& a, const Gradient& p, long n, long size, long begin, long end, float* scratch,
                         Laid& laid) {
  if (end - begin > CHUNK) {
    add_gradient(a, p, n, size, begin, begin + CHUNK, scratch, laid);
    return add_gradient(a, p, n, size, begin + CHUNK, end, scratch, laid);
  }
  const long columns = end - begin;
  const float* first = a.d + p.first + begin;
  const Rows d(first, a.width, n, a.n, a.n), from(p.from, p.stride, n, a.run, a.apart);
  float* dw = p.dw + begin * p.k;
  const auto is_laid = [&laid](const float* left, long rows) {
    const bool same = laid.left == left && laid.rows == rows;
    laid = {left, rows};
    return same;
  };
  if (HEIGHT == 1 && 4 * p.k * rounded(columns) < 3 * columns * rounded(p.k))
    add_product(dw, 1, p.k, from, p.k, d, columns, size, scratch, is_laid(p.from, p.k));
  else
    add_product(dw, p.k, 1, d, columns, from, p.k, size, scratch, is_laid(first, columns));
}

static long gradients_scratch(const Gradients& a) {
  const long columns = a.width < CHUNK ? a.width : CHUNK;
  long k = 0;
  for (int i = 0; i < a.count; ++i) k = a.parts[i].k > k ? a.parts[i].k : k;
  return (whole_rows(columns) + rounded(k) + (1 + VECS) * WIDTH) * places(BLOCK);
}

static long inputs_scratch(const Inputs& a) {
  long room = 0;
  for (int i = 0; i < a.count; ++i) room += left_room(a.lefts[i].count);
  return MOST_ROWS * room;
}

static void gradients(const Gradients& a, long begin, long end, float* scratch) {
  const Tiles tiles;
  for (long n = 0; n < a.n; n += BLOCK) {
    Laid laid{nullptr, 0};
    for (int i = 0; i < a.count; ++i) {
      const Gradient& p = a.parts[i];
      const long from = p.columns * begin / a.width, to = p.columns * end / a.width;
      if (from == to) continue;
      const long size = a.n - n < BLOCK ? a.n - n : BLOCK;
      if (n == 0 && !a.add) std::memset(p.dw + from * p.k, 0, (to - from) * p.k * sizeof(float));
      if (p.from)
        add_gradient(a, p, n, size, from, to, scratch, laid);
      else
        add_rows(p.dw + from, a.d + n * a.width + p.first + from, a.width, size, to - from);
    }
  }
}

static void inputs(const Inputs& a, long begin, long end, float* scratch) {
  const Tiles tiles;
  each_tile(begin, end, [&](long row, long rows) {
    Left lefts[program::MOST_LEFTS];
    float* room = scratch;
    for (int i = 0; i < a.count; ++i) {
      const Columns& columns = a.lefts[i];
      lefts[i] = as_left(a.d + row * a.width + columns.first, a.width, columns.count, rows, room);
      room += rows * left_room(columns.count);
    }
    product(a.out + row * a.row, a.row, false, a.start ? a.start + row * a.width : nullptr, a.width, rows, a.k,
            a.packed, VECS, lefts, a.count);
  });
}

static inline Vec numbers(const float* from) { return load(from); }

static inline Vec numbers(const std::uint8_t* from) {
  typedef std::uint8_t Bytes __attribute__((vector_size(WIDTH)));
  Bytes bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, Vec);
}

template <class Value>
static void gather_from(const Gather& a, const Value* x, long begin, long end) {
  const long line = 64 / sizeof(Value), most = 4096 / sizeof(Value);
  const long ahead = a.time * a.inputs < most ? a.time * a.inputs : most;
  for (long b = begin; b < end; ++b) {
    // Sequences are scattered in memory: the start of the one after the next is prefetched, and the rest follows.
    for (long i = 0; b + 2 < end && i < ahead; i += line) __builtin_prefetch(x + a.starts[b + 2] * a.inputs + i);
    for (long t = 0; t < a.time; ++t) {
      const Value* from = x + (a.starts[b] + t) * a.inputs;
      float* to = a.steps + (t * a.batch + b) * a.inputs;
      if (t >= a.lengths[b]) {
        std::memset(to, 0, a.inputs * sizeof(float));
        continue;
      }
      long i = 0;
      for (; a.inputs >= WIDTH && i < a.inputs; i += WIDTH) {
        i = i + WIDTH > a.inputs ? a.inputs - WIDTH : i;  // the last register overlaps the previous one
        store(to + i, (numbers(from + i) - load(a.mean + i)) * load(a.scale + i), WIDTH);
      }
      for (; i < a.inputs; ++i) to[i] = (static_cast<float>(from[i]) - a.mean[i]) * a.scale[i];
    }
  }
}

static void gather(const Gather& a, long begin, long end) {
  if (a.bytes)
    gather_from(a, a.bytes, begin, end);
  else
    gather_from(a, a.floats, begin, end);
}

static void update(const Update& a, long begin, long end) {
  float* __restrict w = a.values;
  float* __restrict m = a.average;
  float* __restrict v = a.square;
  const float* __restrict gradient = a.gradient;
  for (long i = begin; i < end; ++i) {
    const float g = gradient[i] * a.scale + a.decay * w[i];
    m[i] += (g - m[i]) * a.beta1;
    v[i] += (g * g - v[i]) * a.beta2;
    w[i] = w[i] * a.shrink - a.rate * m[i] / (__builtin_sqrtf(v[i]) + a.eps);
  }
}

static void table(const TableRows& a, long begin, long end) {
  for (const Behind* one = a.behind + begin; one < a.behind + end; ++one) {
    const long at = one->row * a.width;
    for (long s = one->first; s < a.count; ++s) {
      Update step = a.steps[s];
      step.values = a.values + at, step.average = a.average + at, step.square = a.square + at;
      step.gradient = s + 1 == a.count ? one->gradient : a.zeros;
      update(step, 0, a.width);
    }
  }
}

// Only steps within a sequence's length count; the first one in scan order follows h0.
static void linear(const Linear& a, long begin, long end) {
  for (long b = begin; b < end; ++b) {
    const long length = a.lengths ? a.lengths[b] : a.time;
    const float* h = a.h0 + b * a.hidden;
    std::memset(a.y + (b * a.time + length) * a.hidden, 0, (a.time - length) * a.hidden * sizeof(float));
    for (long s = 0; s < length; ++s) {
      const long at = (b * a.time + (a.reverse ? length - 1 - s : s)) * a.hidden;
      float* y = a.y + at;
      for (long u = 0; u < a.hidden; ++u) y[u] = a.a[at + u] * h[u] + a.b[at + u];
      h = y;
    }
    std::memcpy(a.h_n + b * a.hidden, h, a.hidden * sizeof(float));
  }
}

static void linear_backward(const LinearBackward& a, long begin, long end) {
  for (long b = begin; b < end; ++b) {
    const long length = a.lengths ? a.lengths[b] : a.time, padding = (b * a.time + length) * a.hidden;
    float* g = a.dh0 + b * a.hidden;  // the gradient by the state, updated in place
    if (a.dh)
      std::memcpy(g, a.dh + b * a.hidden, a.hidden * sizeof(float));
    else
      std::memset(g, 0, a.hidden * sizeof(float));
    std::memset(a.da + padding, 0, (a.time - length) * a.hidden * sizeof(float));
    std::memset(a.db + padding, 0, (a.time - length) * a.hidden * sizeof(float));
    for (long s = length - 1; s >= 0; --s) {
      const long at = (b * a.time + (a.reverse ? length - 1 - s : s)) * a.hidden;
      const float* before = s == 0 ? a.h0 + b * a.hidden : a.y + at + (a.reverse ? a.hidden : -a.hidden);
      for (long u = 0; u < a.hidden; ++u) {
        const float sum = a.dy ? g[u] + a.dy[at + u] : g[u];
        a.db[at + u] = sum;
        a.da[at + u] = sum * before[u];
        g[u] = sum * a.a[at + u];
      }
    }
  }
}

}  // namespace of the instruction set
}  // namespace unroll

#include "machine.h"

namespace unroll {

extern const Kernels ISA;
const Kernels ISA{NAME(ISA),
                  WIDTH,
                  VECS,
                  CONCAT(in_, ISA)::WIDE,
                  CONCAT(in_, ISA)::HEIGHT,
                  CONCAT(in_, ISA)::GROUP,
                  CONCAT(in_, ISA)::SHARE,
                  CONCAT(in_, ISA)::PAIR,
                  CONCAT(in_, ISA)::places,
                  CONCAT(in_, ISA)::arrange,
                  CONCAT(in_, ISA)::gradients_scratch,
                  CONCAT(in_, ISA)::gradients,
                  CONCAT(in_, ISA)::inputs_scratch,
                  CONCAT(in_, ISA)::inputs,
                  CONCAT(in_, ISA)::forward_scratch,
                  CONCAT(in_, ISA)::forward,
                  CONCAT(in_, ISA)::backward_scratch,
                  CONCAT(in_, ISA)::backward,
                  CONCAT(in_, ISA)::gather,
                  CONCAT(in_, ISA)::update,
                  CONCAT(in_, ISA)::table,
                  CONCAT(in_, ISA)::linear,
                  CONCAT(in_, ISA)::linear_backward};

}  // namespace unroll
