// Weights, arranged as the products read them.
#pragma once

#include <algorithm>
#include <new>
#include <vector>

#ifdef UNROLL_X86
#include <xmmintrin.h>
#endif

#include "bfloat16.h"
#include "scan.h"

namespace unroll {

// Begins with a cache line: a register that is read across two of them takes twice as long.
template <class T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* from, std::size_t) { ::operator delete(from, line); }
  friend bool operator==(const Aligned&, const Aligned&) { return true; }
  friend bool operator!=(const Aligned&, const Aligned&) { return false; }
};

using Numbers = std::vector<float, Aligned<float>>;

// Weights as they are, or their transpose: the one of column c and factor i is at from[c * column + i * factor].
struct Matrix {
  const float* from;
  long column, factor, factors;
};

// to[i * width + c] = the matrix's factor i of column c, counted from `from`, for so many columns.
static inline void copy_columns(float* to, long width, const float* from, const Matrix& m, long columns) {
  long done = 0;  // columns whose factors have been copied
#ifdef UNROLL_X86
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

// In place, from `factors` rows of numbers to half as many of pairs; see products.h.
static inline void pair_up(float* rows, long width, long factors) {
  for (long i = 0; i < (factors + 1) / 2; ++i)
    for (long c = 0; c < width; ++c) {
      const float second = 2 * i + 1 < factors ? rows[(2 * i + 1) * width + c] : 0;
      rows[i * width + c] = pair_of(rows[2 * i * width + c], second);
    }
}

// Arrange weights for a product: panel by panel, the values of a panel's columns side by side for each factor in turn, those
// of the second matrix after those of the first. What sticks out over the last column is left as it was.
static inline void pack(
    Numbers& packed, const Kernels& kernels, long panel, long columns, const std::vector<Matrix>& matrices) {
  long factors = 0, depth = 0;
  for (const Matrix& m : matrices) factors += m.factors, depth += (m.factors + kernels.pair - 1) / kernels.pair;
  packed.resize((columns + kernels.width - 1) / kernels.width * kernels.width * factors);
  each_panel(columns, kernels.width, panel, [&](long first, long registers) {
    float* to = packed.data() + first * depth;
    const long width = registers * kernels.width, there = std::min(width, columns - first);
    for (const Matrix& m : matrices) {
      const float* from = m.from + first * m.column;
      copy_columns(to, width, from, m, there);
      if (kernels.pair > 1) pair_up(to, width, m.factors);
      to += (m.factors + kernels.pair - 1) / kernels.pair * width;
    }
  });
}

}  // namespace unroll
