// Weights, arranged as the products read them.
#pragma once

#include <algorithm>
#include <vector>

#include "scan.h"

namespace unroll {

using Numbers = std::vector<float>;

// Weights as they are, or their transpose: the one of column c and factor i is at from[c * column + i * factor].
struct Matrix {
  const float* from;
  long column, factor, factors;
};

// Arrange weights for a product: panel by panel, the values of a panel's columns side by side for each factor in turn, those
// of the second matrix after those of the first. What sticks out over the last column is left as it was.
static inline void pack(
    Numbers& packed, const Kernels& kernels, long panel, long columns, const std::vector<Matrix>& matrices) {
  long depth = 0;
  for (const Matrix& m : matrices) depth += m.factors;
  packed.resize((columns + kernels.width - 1) / kernels.width * kernels.width * depth);
  each_panel(columns, kernels.width, panel, [&](long first, long registers) {
    float* to = packed.data() + first * depth;
    const long width = registers * kernels.width, there = std::min(width, columns - first);
    for (const Matrix& m : matrices) {
      const float* from = m.from + first * m.column;
      for (long i = 0; i < m.factors; ++i)
        for (long c = 0; c < there; ++c) to[i * width + c] = from[c * m.column + i * m.factor];
      to += m.factors * width;
    }
  });
}

}  // namespace unroll
