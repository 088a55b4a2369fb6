#include "memory.h"
#include "pack.h"

namespace unroll {

float* scratch(long floats) {
  static thread_local Numbers kept;
  if (static_cast<long>(kept.size()) < floats) kept.resize(floats);
  return kept.data();
}

}  // namespace unroll
