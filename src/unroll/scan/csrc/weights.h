// Weights, arranged as the products read them.

namespace unroll {
namespace CONCAT(in_, ISA) {

#if WIDTH == 16
// Transposes a block from row order to column order.
static inline void transpose(Vec (&square)[16]) {
#ifdef __AVX512F__
  __m512 pairs[16], fours[16];
  __m512* const rows = reinterpret_cast<__m512*>(square);
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int half = 0; half < 2; ++half) {
      const __m512d first = (__m512d)pairs[i + half], second = (__m512d)pairs[i + half + 2];
      fours[i + 2 * half] = (__m512)_mm512_unpacklo_pd(first, second);
      fours[i + 2 * half + 1] = (__m512)_mm512_unpackhi_pd(first, second);
    }
  for (int i = 0; i < 4;
       ++i) {  // a quarter of each holds four rows of column i, and so on: 0x88 takes even ones, 0xdd odd
    const __m512 even = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0x88),
                 odd = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0xdd);
    const __m512 even_low = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0xdd);
    rows[i] = _mm512_shuffle_f32x4(even, even_low, 0x88);
    rows[4 + i] = _mm512_shuffle_f32x4(odd, odd_low, 0x88);
    rows[8 + i] = _mm512_shuffle_f32x4(even, even_low, 0xdd);
    rows[12 + i] = _mm512_shuffle_f32x4(odd, odd_low, 0xdd);
  }
#else
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < i; ++j) {
      const float below = square[i][j];
      square[i][j] = square[j][i];
      square[j][i] = below;
    }
#endif
}
#endif

#ifdef BF16
// to[place * width + c] = the matrix's places of column first + c, for a number of columns; the last tile or pair is filled up with zeros.
static void arrange(float* to, long width, const Matrix& m, long first, long columns) {
  const float* const from = m.from + first * m.column;
  const long count = places(m.factors);
  for (long c = 0; c < columns; c += WIDTH)
    for (long i = 0; i < count; i += WIDTH) {
      Vec square[WIDTH] = {};
      const long there = columns - c < WIDTH ? columns - c : WIDTH, left = m.factors - 2 * i;
      if (m.factor == 1) {  // a column's factors are adjacent
        for (long j = 0; j < there; ++j) {
          const float* at = from + (c + j) * m.column + 2 * i;
          square[j] = paired_along(load(at, left), left > WIDTH ? load(at + WIDTH, left - WIDTH) : Vec{});
        }
        transpose(square);
      } else {
        for (long j = 0; j < WIDTH && 2 * j < left; ++j) {
          const float* at = from + c + 2 * (i + j) * m.factor;
          square[j] = paired(load(at, there), 2 * j + 1 < left ? load(at + m.factor, there) : Vec{});
        }
      }
      for (long j = 0; j < WIDTH && i + j < count; ++j) store(to + (i + j) * width + c, square[j], WIDTH);
    }
}
#else
// to[i * width + c] = the matrix's factor i of column first + c, for a number of columns.
static void arrange(float* to, long width, const Matrix& m, long first, long columns) {
  const float* const from = m.from + first * m.column;
  long done = 0;  // columns whose factors have been copied
#if WIDTH == 16
  for (; m.factor == 1 && done < columns; done += WIDTH)
    for (long i = 0; i < m.factors; i += WIDTH) {
      Vec square[WIDTH] = {};
      for (long j = 0; j < WIDTH && done + j < columns; ++j)
        square[j] = load(from + (done + j) * m.column + i, m.factors - i);
      transpose(square);
      for (long j = 0; j < WIDTH && i + j < m.factors; ++j) store(to + (i + j) * width + done, square[j], WIDTH);
    }
#elif defined(UNROLL_X86)
  const long factors = m.factor == 1 ? m.factors / 4 * 4 : 0;
  for (; factors && done + 4 <= columns; done += 4) {  // 4 x 4 at once
    const float* at = from + done * m.column;
    for (long i = 0; i < factors; i += 4) {
      __m128 rows[4];
      for (int r = 0; r < 4; ++r) rows[r] = _mm_loadu_ps(at + r * m.column + i);
      _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
      for (int r = 0; r < 4; ++r) _mm_storeu_ps(to + (i + r) * width + done, rows[r]);
    }
    for (long i = factors; i < m.factors; ++i)
      for (int r = 0; r < 4; ++r) to[i * width + done + r] = at[r * m.column + i];
  }
#endif
  for (long i = 0; i < m.factors; ++i)
    for (long c = done; c < columns; ++c) to[i * width + c] = from[c * m.column + i * m.factor];
}
#endif

}  // namespace of the instruction set
}  // namespace unroll
