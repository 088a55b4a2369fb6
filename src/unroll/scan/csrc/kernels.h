// The kernels, written once: each instruction set's source defines ISA, WIDTH (floats of a register), VECS (registers of
// a panel) and MOST_ROWS (of a tile), and includes this.
//
// A tile of ROWS x PANEL results stays in registers while a product runs; the weights are packed so that the PANEL values
// that belong to one factor stand side by side, and are read as one stream. A range of the batch goes through all time
// steps before it returns: threads meet once per call.

#include <cstring>

#include "scan.h"

#define NAME_OF(x) #x
#define NAME(x) NAME_OF(x)
#define CONCAT_OF(x, y) x##y
#define CONCAT(x, y) CONCAT_OF(x, y)

namespace unroll {
namespace CONCAT(in_, ISA) {

typedef float Vec __attribute__((vector_size(WIDTH * 4)));
constexpr long PANEL = WIDTH * VECS;
constexpr long BLOCK = 1024;  // rows of d and h that stay in the cache between two tiles of dw

static inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

static inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

// Panels may stick out over the last unit: then only n of their values are there.
static inline void load_panel(Vec* to, const float* from, long n) {
  float whole[PANEL] = {};
  if (n < PANEL) {
    std::memcpy(whole, from, n * sizeof(float));
    from = whole;
  }
  for (int v = 0; v < VECS; ++v) to[v] = load(from + v * WIDTH);
}

static inline void store_panel(float* to, const Vec* from, long n) {
  float whole[PANEL];
  float* at = n < PANEL ? whole : to;
  for (int v = 0; v < VECS; ++v) store(at + v * WIDTH, from[v]);
  if (n < PANEL) std::memcpy(to, whole, n * sizeof(float));
}

// The rational approximation of Eigen (Eigen/src/Core/MathFunctionsImpl.h, generic_fast_tanh_float): an odd polynomial of
// degree 13 over an even one of degree 6, largest error 3.3e-7. The comparisons let NaN pass.
static inline Vec tanh(Vec x) {
  const Vec most = Vec{} + 7.90531110763549805f, least = -most;
  x = x > most ? most : x;
  x = x < least ? least : x;
  const Vec s = x * x;
  Vec p = Vec{} + -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = Vec{} + 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

// tile += left (ROWS, k) times right (k, USED registers); row and factor say how far apart those stand in left.
template <int ROWS, int USED = VECS>
static inline void multiply(
    Vec (&tile)[ROWS][VECS], const float* left, long row, long factor, const float* right, long right_factor, long k) {
  for (long i = 0; i < k; ++i) {
    Vec b[USED];
    for (int v = 0; v < USED; ++v) b[v] = load(right + i * right_factor + v * WIDTH);
    for (int r = 0; r < ROWS; ++r) {
      const Vec a = Vec{} + left[r * row + i * factor];
      for (int v = 0; v < USED; ++v) tile[r][v] += a * b[v];
    }
  }
}

template <int ROWS>
struct ForwardTile {
  static void run(const Forward& a, long row) {
    const long depth = 1 + a.inputs + a.hidden;
    for (long t = 0; t < a.time; ++t) {
      const float* x = a.x + (t * a.batch + row) * a.inputs;
      const float* before = a.h + (t * a.batch + row) * a.hidden;
      float* after = a.h + ((t + 1) * a.batch + row) * a.hidden;
      for (long unit = 0; unit < a.hidden; unit += PANEL) {
        const float* packed = a.packed + unit * depth;
        Vec tile[ROWS][VECS];
        for (int r = 0; r < ROWS; ++r) load_panel(tile[r], packed, PANEL);  // the bias
        multiply<ROWS>(tile, x, a.inputs, 1, packed + PANEL, PANEL, a.inputs);
        multiply<ROWS>(tile, before, a.hidden, 1, packed + (1 + a.inputs) * PANEL, PANEL, a.hidden);
        for (int r = 0; r < ROWS; ++r) {
          for (int v = 0; v < VECS; ++v) {
            const Vec z = tile[r][v];
            tile[r][v] = a.relu ? (z < 0 ? Vec{} : z) : tanh(z);
          }
          store_panel(after + r * a.hidden + unit, tile[r], a.hidden - unit);
        }
      }
    }
  }
};

template <int ROWS>
struct BackwardTile {
  static void run(const Backward& a, long row) {
    for (long t = a.time - 1; t >= (a.dh0 ? -1 : 0); --t) {
      for (long unit = 0; unit < a.hidden; unit += PANEL) {
        const long n = a.hidden - unit;
        Vec tile[ROWS][VECS] = {};
        if (t < a.time - 1) {
          const float* later = a.d + ((t + 1) * a.batch + row) * a.hidden;
          multiply<ROWS>(tile, later, a.hidden, 1, a.packed + unit * a.hidden, PANEL, a.hidden);
        } else if (a.dh) {
          for (int r = 0; r < ROWS; ++r) load_panel(tile[r], a.dh + (row + r) * a.hidden + unit, n);
        }
        for (int r = 0; r < ROWS; ++r) {
          if (t < 0) {
            store_panel(a.dh0 + (row + r) * a.hidden + unit, tile[r], n);
          } else {
            through_activation(a, tile[r], t, row + r, unit, n);
            store_panel(a.d + (t * a.batch + row + r) * a.hidden + unit, tile[r], n);
          }
        }
      }
    }
  }

  static inline void through_activation(const Backward& a, Vec* tile, long t, long b, long unit, long n) {
    Vec h[VECS], dy[VECS];
    load_panel(h, a.h + ((t + 1) * a.batch + b) * a.hidden + unit, n);
    if (a.dy) {
      load_panel(dy, a.dy + b * a.dy_batch + t * a.dy_time + unit, n);
      for (int v = 0; v < VECS; ++v) tile[v] += dy[v];
    }
    for (int v = 0; v < VECS; ++v) tile[v] = a.relu ? (h[v] > 0 ? tile[v] : Vec{}) : tile[v] * (1 - h[v] * h[v]);
  }
};

template <int ROWS>
struct WeightsTile {
  static void run(const Weights& a, long row) {
    for (long column = 0; column < a.k; column += PANEL) {
      Vec tile[ROWS][VECS] = {};
      const float *d = a.d + row, *from = a.from + column;
      if (a.k - column <= 2 * WIDTH)  // few inputs: do not multiply what is not there
        multiply<ROWS, 2>(tile, d, 1, a.hidden, from, a.k, a.n);
      else
        multiply<ROWS>(tile, d, 1, a.hidden, from, a.k, a.n);
      for (int r = 0; r < ROWS; ++r) {
        float* dw = a.dw + (row + r) * a.k + column;
        Vec sum[VECS];
        load_panel(sum, dw, a.k - column);
        for (int v = 0; v < VECS; ++v) sum[v] += tile[r][v];
        store_panel(dw, sum, a.k - column);
      }
    }
  }
};

template <int ROWS>
struct InputsTile {
  static void run(const Inputs& a, long row) {
    for (long column = 0; column < a.k; column += PANEL) {
      Vec tile[ROWS][VECS] = {};
      multiply<ROWS>(tile, a.d + row * a.hidden, a.hidden, 1, a.packed + column * a.hidden, PANEL, a.hidden);
      for (int r = 0; r < ROWS; ++r) store_panel(a.out + (row + r) * a.k + column, tile[r], a.k - column);
    }
  }
};

// Tiles of nearly equal size: a last one of a single row would take as long as a full one.
template <template <int> class Tile, class Args>
static void in_tiles(const Args& a, long begin, long end) {
  const long tiles = (end - begin + MOST_ROWS - 1) / MOST_ROWS;
  for (long i = 0; i < tiles; ++i) {
    const long rows = (end - begin + tiles - i - 1) / (tiles - i);
    switch (rows) {
      case 6: Tile<6>::run(a, begin); break;
      case 5: Tile<5>::run(a, begin); break;
      case 4: Tile<4>::run(a, begin); break;
      case 3: Tile<3>::run(a, begin); break;
      case 2: Tile<2>::run(a, begin); break;
      default: Tile<1>::run(a, begin);
    }
    begin += rows;
  }
}

static void forward(const Forward& a, long begin, long end) { in_tiles<ForwardTile>(a, begin, end); }

static void backward(const Backward& a, long begin, long end) { in_tiles<BackwardTile>(a, begin, end); }

static void weights(const Weights& a, long begin, long end) {
  std::memset(a.dw + begin * a.k, 0, (end - begin) * a.k * sizeof(float));
  for (long n = 0; n < a.n; n += BLOCK) {
    const long size = a.n - n < BLOCK ? a.n - n : BLOCK;
    in_tiles<WeightsTile>(Weights{a.d + n * a.hidden, a.from + n * a.k, a.dw, size, a.hidden, a.k}, begin, end);
  }
}

static void inputs(const Inputs& a, long begin, long end) { in_tiles<InputsTile>(a, begin, end); }

}  // namespace of the instruction set

extern const Kernels ISA;
const Kernels ISA{
    NAME(ISA), CONCAT(in_, ISA)::PANEL, CONCAT(in_, ISA)::forward, CONCAT(in_, ISA)::backward, CONCAT(in_, ISA)::weights,
    CONCAT(in_, ISA)::inputs};

}  // namespace unroll
