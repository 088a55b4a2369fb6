// A table of vectors whose rows take steps of Adam when they are needed. In most steps on texts most rows have no gradient, but
// all of them move, by their averages and weight decay: reading and writing them all in each step takes longer than the scans.
#pragma once

#include <cstdint>
#include <vector>

#include "scan.h"

namespace unroll {

class Table {
 public:
  // values, average, square: (rows, width), the parameter and its state in Adam.
  Table(const Kernels& kernels, float* values, float* average, float* square, long rows, long width);

  // From now on each row has a further step to take; only factors are read.
  void add(const Update& step) { steps_.push_back(step); }

  // Let these n rows take the steps that they have not taken; null: all rows, of which none is then behind. gradients: (n, width),
  // of the last step, for rows that are given once; null: that step has none either. Rows that do not exist are left out.
  void take(const std::int64_t* rows, long n, const float* gradients, int threads);

 private:
  const Kernels& kernels_;
  float *values_, *average_, *square_;
  long width_;
  std::vector<Update> steps_;
  std::vector<std::int32_t> taken_;  // how many of them each row has taken
  std::vector<Behind> behind_;
  std::vector<float> zeros_;
};

}  // namespace unroll
