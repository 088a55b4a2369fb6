// Matrix products in tiles of ROWS rows x USED registers that stay in registers while the sum runs.

namespace unroll {
namespace CONCAT(in_, ISA) {

constexpr int WIDE = 10;  // registers of a panel for a single row: enough independent sums to keep the processor busy

// tile += left (ROWS, k) times right (k, USED registers); row and factor are the strides of the left.
template <int ROWS, int USED>
static inline void multiply(Vec (&tile)[ROWS][USED], const float* left, long row, long factor, const float* right,
                            long k) {
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

// out (rows, columns) = start + the left sides, one after the other, times `packed`. A start with row stride 0 is
// used for all rows; without padding behind each row of `out`, its last register is stored in part. Each panel of the weights
// is used for all rows before the next one is read.
static void product(float* out, long out_row, bool room, const float* start, long start_row, long rows, long columns,
                    const float* packed, long panel, const Left* lefts, int count) {
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

// out[r * out_row + c * out_column] += sum over n of left[n, r] * right[n, c]. Both sides are first copied, so that
// a tile reads them contiguously: the left one unless it is that of the previous call, the right one panel by panel, which
// keeps each panel in the nearest cache. Scratch has (rows + WIDTH + a panel's) * places(n) floats.
static void add_product(float* out, long out_row, long out_column, const Rows& left, long rows, const Rows& right,
                        long columns, long n, float* scratch, bool same_left) {
  const long count = places(n);
  float* const panel = scratch + (rows + WIDTH) * count;
  if (!same_left)
    each_tile(0, rows, [&](long row, long tile_rows) {  // whole registers, as the next ones overwrite the excess
      Places from(left, n);
      for (long i = 0; i < count; ++i) store(scratch + row * count + i * tile_rows, from.next().of(row), WIDTH);
    });
  each_panel(columns, WIDTH, VECS, [&](long column, long registers) {
    with_count<VECS>(registers, [&](auto used) {
      constexpr int USED = decltype(used)::value;
      Places from(right, n);
      for (long i = 0; i < count; ++i) {
        const Place place = from.next();
        for (int v = 0; v < USED; ++v) store(panel + (i * USED + v) * WIDTH, place.of(column + v * WIDTH), WIDTH);
      }
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
