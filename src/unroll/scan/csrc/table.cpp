#include "table.h"

#include <algorithm>

#include "threads.h"

namespace unroll {

Table::Table(const Kernels& kernels, float* values, float* average, float* square, long rows, long width)
    : kernels_(kernels),
      values_(values),
      average_(average),
      square_(square),
      width_(width),
      taken_(rows),
      zeros_(width) {}

void Table::take(const std::int64_t* rows, long n, const float* gradients, int threads) {
  const long all = taken_.size(), steps = steps_.size();
  behind_.clear();
  for (long i = 0; i < (rows ? n : all); ++i) {
    const long row = rows ? rows[i] : i;
    if (row < 0 || row >= all || taken_[row] == steps) continue;
    behind_.push_back({row, taken_[row], gradients ? gradients + i * width_ : zeros_.data()});
    taken_[row] = steps;
  }
  const TableRows work{values_, average_, square_, width_, behind_.data(), steps_.data(), steps, zeros_.data()};
  split(behind_.size(), threads, [&](long begin, long end) { kernels_.table(work, begin, end); });
  if (rows) return;
  steps_.clear();
  std::fill(taken_.begin(), taken_.end(), 0);
}

}  // namespace unroll
