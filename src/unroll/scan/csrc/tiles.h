// Matrix products in tiles of 16 rows of 16 places, which AMX multiplies with one instruction (TILES_OF_AMX). Otherwise plain
// loops replace it, so that sanitisers see its reads.
//
// The padding of a tile is computed too: past the last factor both sides are zero; past the last row values are arbitrary.

#ifdef TILES_OF_AMX
#define TILE_ARGUMENTS(t, at, row) "i"(t), "r"(at), "r"((row) * sizeof(float)) : "memory"
#endif

namespace unroll {
namespace CONCAT(in_, ISA) {

constexpr int WIDE = VECS;
constexpr long TILE = 16, PLACES = TILE * TILE;

#ifdef TILES_OF_AMX
// Sets up the calling thread's eight tiles, and releases them, so that later code need not save them.
struct Tiles {
  Tiles() {
    struct {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    asm volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
};

template <int T>
static inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(T));
}

// Rows `row` floats apart.
template <int T>
static inline void load_tile(const float* from, long row) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::TILE_ARGUMENTS(T, from, row));
}

template <int T>
static inline void store_tile(float* to, long row) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::TILE_ARGUMENTS(T, to, row));
}

template <int SUM, int LEFT, int RIGHT>
static inline void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(LEFT), "i"(RIGHT));
}
#else
static thread_local float tiles[8][TILE][TILE];

template <int T>
static inline void clear_tile() {
  std::memset(tiles[T], 0, sizeof tiles[T]);
}

template <int T>
static inline void load_tile(const float* from, long row) {
  for (long r = 0; r < TILE; ++r) std::memcpy(tiles[T][r], from + r * row, sizeof tiles[T][r]);
}

template <int T>
static inline void store_tile(float* to, long row) {
  for (long r = 0; r < TILE; ++r) std::memcpy(to + r * row, tiles[T][r], sizeof tiles[T][r]);
}

template <int SUM, int LEFT, int RIGHT>
static inline void multiply_tiles() {
  for (long r = 0; r < TILE; ++r)
    for (long i = 0; i < TILE; ++i)
      for (long v = 0; v < TILE; v += WIDTH) {
        Vec sum = load(&tiles[SUM][r][v]);
        add_products(sum, all(tiles[LEFT][r][i]), load(&tiles[RIGHT][i][v]));
        store(&tiles[SUM][r][v], sum, WIDTH);
      }
}
#endif

// Strides of a side's tiles: between the rows of a tile, to the next tile down the rows (left side only), and to the next tile
// along the factors.
struct Side {
  const float* at;
  long row, down, along;
};

// Tiles 0 to 3, ROWS x COLUMNS of them row by row, += left times right, `count` tiles of factors.
template <int ROWS, int COLUMNS>
static inline void multiply(const Side& left, const Side& right, long count) {
  const float *a = left.at, *b = right.at;
  for (long i = 0; i < count; ++i, a += left.along, b += right.along) {
    load_tile<4>(a, left.row);
    load_tile<6>(b, right.row);
    multiply_tiles<0, 4, 6>();
    if constexpr (COLUMNS == 2) load_tile<7>(b + TILE, right.row), multiply_tiles<1, 4, 7>();
    if constexpr (ROWS == 2) load_tile<5>(a + left.down, left.row), multiply_tiles<2, 5, 6>();
    if constexpr (ROWS == 2 && COLUMNS == 2) multiply_tiles<3, 5, 7>();
  }
}

// Call f(Count<tile>, row, column) for each of ROWS x COLUMNS tiles, with the first row and column of it.
template <int ROWS, int COLUMNS, class F>
static inline void each_sum(const F& f) {
  f(Count<0>(), 0l, 0l);
  if constexpr (COLUMNS == 2) f(Count<1>(), 0l, TILE);
  if constexpr (ROWS == 2) f(Count<2>(), TILE, 0l);
  if constexpr (ROWS == 2 && COLUMNS == 2) f(Count<3>(), TILE, TILE);
}

// Call f(Count<rows>, first row) for blocks of two rows of tiles, or of one at the end.
template <class F>
static inline void each_block(long rows, const F& f) {
  for (long row = 0; row < rows; row += 2 * TILE)
    with_count<2>((rows - row + TILE - 1) / TILE, [&](auto tiles_down) { f(tiles_down, row); });
}

static inline long least(long a, long b) { return a < b ? a : b; }

// out (rows, columns) = start + the left sides, one after the other, times `packed`. A start with row stride 0 is
// used for all rows; with padding behind each row of `out` and after the last one, whole tiles are stored.
static void product(float* out, long out_row, bool room, const float* start, long start_row, long rows, long columns,
                    const float* packed, long panel, const Left* lefts, int count) {
  each_panel(columns, WIDTH, panel, [&](long column, long registers) {
    const long width = registers * TILE;
    with_count<2>(registers, [&](auto used) {
      each_block(rows, [&](auto tiles_down, long row) {
        constexpr int ROWS = decltype(tiles_down)::value, COLUMNS = decltype(used)::value;
        each_sum<ROWS, COLUMNS>([&](auto tile, long r, long c) {
          if (start)
            load_tile<decltype(tile)::value>(start + (row + r) * start_row + column + c, start_row);
          else
            clear_tile<decltype(tile)::value>();
        });
        const float* right = packed;
        for (int i = 0; i < count; ++i) {
          const Left& left = lefts[i];
          multiply<ROWS, COLUMNS>({left.at + row * left.row, left.row, TILE * left.row, TILE},
                                  {right, width, 0, TILE * width}, left.k / TILE);
          right += left.k * width;
        }
        each_sum<ROWS, COLUMNS>([&](auto tile, long r, long c) {
          float* const to = out + (row + r) * out_row + column + c;
          if (room) return store_tile<decltype(tile)::value>(to, out_row);
          alignas(64) float sums[PLACES];
          store_tile<decltype(tile)::value>(sums, TILE);
          for (long i = 0; i < least(TILE, rows - row - r); ++i)
            store(to + i * out_row, load(sums + i * TILE), columns - column - c);
        });
      });
    });
    for (int i = 0; i < count; ++i) packed += lefts[i].k * width;
  });
}

// out[r * out_row + c] += sum over n of left[n, r] * right[n, c]. Both sides are first copied row by row, the left one
// unless it is that of the previous call. Scratch has (whole_rows(rows) + rounded(columns)) * places(n) floats.
static void add_product(float* out, long out_row, [[maybe_unused]] long out_column, const Rows& left, long rows,
                        const Rows& right, long columns, long n, float* scratch, bool same_left) {
  const long count = places(n);
  float* const panels = scratch + whole_rows(rows) * count;
  Places of_left(left, n), of_right(right, n);
  for (long i = 0; !same_left && i < count; i += TILE) {
    Place of_tile[TILE];
    for (Place& place : of_tile) place = of_left.next();
    for (long row = 0; row < rows; row += TILE) {
      Vec square[TILE];
      for (long j = 0; j < TILE; ++j) square[j] = of_tile[j].of(row);
      transpose(square);
      for (long r = 0; r < TILE; ++r) store(scratch + row * count + (i + r) * TILE, square[r], WIDTH);
    }
  }
  for (long i = 0; i < count; ++i) {
    const Place place = of_right.next();
    each_panel(columns, WIDTH, VECS, [&](long column, long registers) {
      float* const to = panels + column * count + i * registers * TILE;
      for (long v = 0; v < registers * TILE; v += TILE) store(to + v, place.of(column + v), WIDTH);
    });
  }
  each_panel(columns, WIDTH, VECS, [&](long column, long registers) {
    const long width = registers * TILE;
    const float* const panel = panels + column * count;
    with_count<2>(registers, [&](auto used) {
      each_block(rows, [&](auto tiles_down, long row) {
        constexpr int ROWS = decltype(tiles_down)::value, COLUMNS = decltype(used)::value;
        each_sum<ROWS, COLUMNS>([](auto tile, long, long) { clear_tile<decltype(tile)::value>(); });
        multiply<ROWS, COLUMNS>({scratch + row * count, TILE, TILE * count, PLACES}, {panel, width, 0, TILE * width},
                                count / TILE);
        each_sum<ROWS, COLUMNS>([&](auto tile, long r, long c) {
          alignas(64) float sums[PLACES];
          store_tile<decltype(tile)::value>(sums, TILE);
          const long there = columns - column - c;
          for (long i = 0; i < least(TILE, rows - row - r); ++i) {
            float* const to = out + (row + r + i) * out_row + column + c;
            store(to, load(to, there) + load(sums + i * TILE), there);
          }
        });
      });
    });
  });
}

}  // namespace of the instruction set
}  // namespace unroll
