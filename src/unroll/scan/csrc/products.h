// Matrix products in tiles of ROWS rows x USED registers that stay in registers while the sum runs.

namespace unroll {
namespace CONCAT(in_, ISA) {

constexpr int WIDE = 10;  // registers of a panel for a single row: as many sums as it takes to keep the processor busy

typedef float Vec __attribute__((vector_size(WIDTH * 4)));

static inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// Only n of the values may be there.
static inline Vec load(const float* from, long n) {
  if (n >= WIDTH) return load(from);
#ifdef __AVX512F__
  return (Vec)_mm512_maskz_loadu_ps((1 << n) - 1, from);
#else
  Vec v{};
  std::memcpy(&v, from, n * sizeof(float));
  return v;
#endif
}

static inline void store(float* to, Vec v, long n) {
  if (n >= WIDTH)
    std::memcpy(to, &v, sizeof v);
  else
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, (1 << n) - 1, (__m512)v);
#else
    std::memcpy(to, &v, n * sizeof(float));
#endif
}

template <int N>
struct Count {
  static constexpr int value = N;
};

// Call f with Count<n>, for n from 1 to MOST.
template <int MOST, class F>
static inline void with_count(long n, const F& f) {
  if constexpr (MOST == 1) {
    f(Count<1>());
  } else {
    if (n >= MOST)
      f(Count<MOST>());
    else
      with_count<MOST - 1>(n, f);
  }
}

// Call each(first row, rows) for tiles of nearly equal size: a last one of a single row would take as long as a full one.
template <class Each>
static inline void each_tile(long begin, long end, const Each& each) {
  const long tiles = (end - begin + MOST_ROWS - 1) / MOST_ROWS;
  for (long i = 0; i < tiles; ++i) {
    const long rows = (end - begin + tiles - i - 1) / (tiles - i);
    each(begin, rows);
    begin += rows;
  }
}

// tile += left (ROWS, k) times right (k, USED registers); row and factor say how far apart the left's values stand.
template <int ROWS, int USED>
static inline void multiply(Vec (&tile)[ROWS][USED], const float* left, long row, long factor, const float* right, long k) {
  for (long i = 0; i < k; ++i) {
    Vec b[USED];
    for (int v = 0; v < USED; ++v) b[v] = load(right + (i * USED + v) * WIDTH);
    for (int r = 0; r < ROWS; ++r) {
      const float a = left[r * row + i * factor];
      for (int v = 0; v < USED; ++v) tile[r][v] += a * b[v];
    }
  }
}

// The first n values of a row of a tile are added to those at `to`, `apart` from each other.
template <int USED>
static inline void add(float* to, long apart, const Vec (&row)[USED], long n) {
  if (apart == 1)
    for (int v = 0; v < USED; ++v) store(to + v * WIDTH, load(to + v * WIDTH, n - v * WIDTH) + row[v], n - v * WIDTH);
  else
    for (long i = 0; i < USED * WIDTH && i < n; ++i) to[i * apart] += row[i / WIDTH][i % WIDTH];
}

// A left side whose k factors stand side by side.
struct Left {
  const float* at;
  long row, k;
};

// out (ROWS, columns) = start + the left sides, one after the other, times `packed`. A start with rows 0 apart counts for
// all rows; without room behind each row of `out` its last register is stored in part.
template <int ROWS>
static void product(
    float* out, long out_row, bool room, const float* start, long start_row, long columns, const float* packed, long panel,
    const Left* lefts, int count) {
  each_panel(columns, WIDTH, panel, [&](long column, long registers) {
    with_count<ROWS == 1 ? WIDE : VECS>(registers, [&](auto used) {
      constexpr int USED = decltype(used)::value;
      Vec tile[ROWS][USED] = {};
      if (start)
        for (int r = 0; r < ROWS; ++r)
          for (int v = 0; v < USED; ++v) tile[r][v] = load(start + r * start_row + column + v * WIDTH);
      for (int i = 0; i < count; ++i) {
        multiply<ROWS, USED>(tile, lefts[i].at, lefts[i].row, 1, packed, lefts[i].k);
        packed += lefts[i].k * USED * WIDTH;
      }
      for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < USED; ++v) {
          const long at = column + v * WIDTH;
          store(out + r * out_row + at, tile[r][v], room ? WIDTH : columns - at);
        }
    });
  });
}

// out[r * out_row + c * out_column] += sum over n of left[n, r] * right[n, c]. Both sides are laid out anew first, so that
// what a tile needs of them stands in one stretch; scratch has room for (rows + PANEL) * n.
static void add_product(
    float* out, long out_row, long out_column, const float* left, long left_n, long rows, const float* right, long right_n,
    long columns, long n, float* scratch) {
  float* const panel = scratch + rows * n;
  each_tile(0, rows, [&](long row, long tile_rows) {  // whole registers: what is too much, the next ones overwrite
    for (long i = 0; i < n; ++i) store(scratch + row * n + i * tile_rows, load(left + i * left_n + row), WIDTH);
  });
  each_panel(columns, WIDTH, VECS, [&](long column, long registers) {
    with_count<VECS>(registers, [&](auto used) {
      constexpr int USED = decltype(used)::value;
      for (long i = 0; i < n; ++i)
        for (int v = 0; v < USED; ++v)
          store(panel + (i * USED + v) * WIDTH, load(right + i * right_n + column + v * WIDTH), WIDTH);
      each_tile(0, rows, [&](long row, long tile_rows) {
        with_count<MOST_ROWS>(tile_rows, [&](auto r_count) {
          constexpr int ROWS = decltype(r_count)::value;
          Vec tile[ROWS][USED] = {};
          multiply<ROWS, USED>(tile, scratch + row * n, 1, ROWS, panel, n);
          for (int r = 0; r < ROWS; ++r)
            add(out + (row + r) * out_row + column * out_column, out_column, tile[r], columns - column);
        });
      });
    });
  });
}

}  // namespace of the instruction set
}  // namespace unroll
