// Memory for the kernels, and weights arranged as the products read them.
#pragma once

#include <algorithm>
#include <new>
#include <vector>

#include "scan.h"

namespace unroll {

// Aligned to cache lines, as reading a register across two of them takes twice as long.
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

// Memory for n floats, with padding that a kernel may read but does not use.
static inline float* room(Numbers& numbers, long n) {
  constexpr long BEHIND = 128;
  if (static_cast<long>(numbers.size()) < n + BEHIND) numbers.resize(n + BEHIND);
  return numbers.data();
}

// Arrange weights for a product: panel by panel, the values of a panel's columns side by side for each factor in turn, those
// of the second matrix after those of the first. Values past the last column do not matter.
static inline void pack(Numbers& packed, const Kernels& kernels, long panel, long columns,
                        const std::vector<Matrix>& matrices) {
  long depth = 0;
  for (const Matrix& m : matrices) depth += kernels.places(m.factors);
  packed.resize((columns + kernels.width - 1) / kernels.width * kernels.width * depth);
  each_panel(columns, kernels.width, panel, [&](long first, long registers) {
    float* to = packed.data() + first * depth;
    const long width = registers * kernels.width;
    for (const Matrix& m : matrices) {
      kernels.arrange(to, width, m, first, std::min(width, columns - first));
      to += kernels.places(m.factors) * width;
    }
  });
}

}  // namespace unroll
