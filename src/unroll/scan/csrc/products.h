// Matrix products in tiles of ROWS rows x USED registers that stay in registers while the sum runs.
//
// With BF16 both sides are rounded to bfloat16, and two factors that follow each other, a pair, stand where one float32 would:
// their products are summed in float32 by one instruction. PAIR is the factors in such a place.

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

#ifdef BF16
constexpr int PAIR = 2;

// For each column the pair of what stands in two rows.
static inline Vec paired(Vec first, Vec second) {
#ifdef __AVX512BF16__
  const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
                                         4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Vec)_mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
#else
  Vec both;
  for (int i = 0; i < WIDTH; ++i) both[i] = pair_of(first[i], second[i]);
  return both;
#endif
}

// The same for factors that stand side by side.
static inline Vec paired_along(Vec first, Vec second) {
#ifdef __AVX512BF16__
  return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
  Vec both;
  for (int i = 0; i < WIDTH; ++i) {
    const Vec& half = 2 * i < WIDTH ? first : second;
    both[i] = pair_of(half[2 * i % WIDTH], half[2 * i % WIDTH + 1]);
  }
  return both;
#endif
}

static inline void add_products(Vec& sum, Vec a, Vec b) {
#ifdef __AVX512BF16__
  sum = (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  typedef std::uint32_t Bits __attribute__((vector_size(WIDTH * 4)));
  const Bits left = (Bits)a, right = (Bits)b, high = Bits{} + 0xffff0000u;
  sum += (Vec)(left << 16) * (Vec)(right << 16);
  sum += (Vec)(left & high) * (Vec)(right & high);
#endif
}
#else
constexpr int PAIR = 1;

static inline Vec paired(Vec only, Vec) { return only; }

static inline void add_products(Vec& sum, Vec a, Vec b) { sum += a * b; }
#endif

static inline long places(long factors) { return (factors + PAIR - 1) / PAIR; }

// The value in each place, or its bits: that a zero is taken from it, compilers leave out.
static inline Vec all(float value) { return value - Vec{}; }

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

// Call each(first row, rows) for parts of nearly equal size: a last one of a single row would take as long as a full one.
template <class Each>
static inline void each_part(long begin, long end, long most, const Each& each) {
  const long parts = (end - begin + most - 1) / most;
  for (long i = 0; i < parts; ++i) {
    const long rows = (end - begin + parts - i - 1) / (parts - i);
    each(begin, rows);
    begin += rows;
  }
}

template <class Each>
static inline void each_tile(long begin, long end, const Each& each) {
  each_part(begin, end, MOST_ROWS, each);
}

// tile += left (ROWS, k) times right (k, USED registers); row and factor say how far apart the left's places stand.
template <int ROWS, int USED>
static inline void multiply(Vec (&tile)[ROWS][USED], const float* left, long row, long factor, const float* right, long k) {
  for (long i = 0; i < k; ++i) {
    Vec b[USED];
    for (int v = 0; v < USED; ++v) b[v] = load(right + (i * USED + v) * WIDTH);
    for (int r = 0; r < ROWS; ++r) {
      const Vec a = all(left[r * row + i * factor]);
      for (int v = 0; v < USED; ++v) add_products(tile[r][v], a, b[v]);
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

// A left side whose k places stand side by side.
struct Left {
  const float* at;
  long row, k;
};

// Rows of k factors, to be multiplied; `room` has WIDTH floats more per row than places(k).
static inline Left as_left(const float* at, long row, long k, [[maybe_unused]] long rows, [[maybe_unused]] float* room) {
#ifdef BF16
  const long width = places(k) + WIDTH;
  for (long r = 0; r < rows; ++r)
    for (long i = 0; i < k; i += 2 * WIDTH) {
      const float* from = at + r * row + i;
      const Vec first = load(from, k - i), second = k - i > WIDTH ? load(from + WIDTH, k - i - WIDTH) : Vec{};
      store(room + r * width + i / 2, paired_along(first, second), WIDTH);
    }
  return {room, width, places(k)};
#else
  return {at, row, k};
#endif
}

// out (rows, columns) = start + the left sides, one after the other, times `packed`. A start with rows 0 apart counts for
// all rows; without room behind each row of `out` its last register is stored in part. Each panel of the weights serves all
// rows before the next one is read.
static void product(
    float* out, long out_row, bool room, const float* start, long start_row, long rows, long columns, const float* packed,
    long panel, const Left* lefts, int count) {
  each_panel(columns, WIDTH, panel, [&](long column, long registers) {
    const auto tile = [&](auto row_count, auto used, long row) {
      constexpr int ROWS = decltype(row_count)::value, USED = decltype(used)::value;
      Vec sums[ROWS][USED] = {};
      if (start)
        for (int r = 0; r < ROWS; ++r)
          for (int v = 0; v < USED; ++v) sums[r][v] = load(start + (row + r) * start_row + column + v * WIDTH);
      const float* right = packed;
      for (int i = 0; i < count; ++i) {
        multiply<ROWS, USED>(sums, lefts[i].at + row * lefts[i].row, lefts[i].row, 1, right, lefts[i].k);
        right += lefts[i].k * USED * WIDTH;
      }
      for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < USED; ++v) {
          const long at = column + v * WIDTH;
          store(out + (row + r) * out_row + at, sums[r][v], room ? WIDTH : columns - at);
        }
    };
    if (rows == 1)
      with_count<WIDE>(registers, [&](auto used) { tile(Count<1>(), used, 0); });
    else
      with_count<VECS>(registers, [&](auto used) {
        each_tile(0, rows, [&](long row, long tile_rows) {
          with_count<MOST_ROWS>(tile_rows, [&](auto row_count) { tile(row_count, used, row); });
        });
      });
    for (int i = 0; i < count; ++i) packed += lefts[i].k * registers * WIDTH;
  });
}

// out[r * out_row + c * out_column] += sum over n of left[n, r] * right[n, c]. Both sides are laid out anew first, so that
// what a tile needs of them stands in one stretch; scratch has room for (rows + a panel's) * places(n).
static void add_product(
    float* out, long out_row, long out_column, const float* left, long left_n, long rows, const float* right, long right_n,
    long columns, long n, float* scratch) {
  const long count = places(n);
  float* const panel = scratch + rows * count;
  const auto pairs = [n](const float* from, long from_n, long i) {
    const float* first = from + i * PAIR * from_n;
    return paired(load(first), PAIR > 1 && i * PAIR + 1 < n ? load(first + from_n) : Vec{});
  };
  each_tile(0, rows, [&](long row, long tile_rows) {  // whole registers: what is too much, the next ones overwrite
    for (long i = 0; i < count; ++i) store(scratch + row * count + i * tile_rows, pairs(left + row, left_n, i), WIDTH);
  });
  each_panel(columns, WIDTH, VECS, [&](long column, long registers) {
    with_count<VECS>(registers, [&](auto used) {
      constexpr int USED = decltype(used)::value;
      for (long i = 0; i < count; ++i)
        for (int v = 0; v < USED; ++v)
          store(panel + (i * USED + v) * WIDTH, pairs(right + column + v * WIDTH, right_n, i), WIDTH);
      each_tile(0, rows, [&](long row, long tile_rows) {
        with_count<MOST_ROWS>(tile_rows, [&](auto r_count) {
          constexpr int ROWS = decltype(r_count)::value;
          Vec tile[ROWS][USED] = {};
          multiply<ROWS, USED>(tile, scratch + row * count, 1, ROWS, panel, count);
          for (int r = 0; r < ROWS; ++r)
            add(out + (row + r) * out_row + column * out_column, out_column, tile[r], columns - column);
        });
      });
    });
  });
}

}  // namespace of the instruction set
}  // namespace unroll
