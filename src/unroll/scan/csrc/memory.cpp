#include "memory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace unroll {

void expect_large(void* from, long floats) {
#ifdef __linux__
  constexpr std::uintptr_t page = 1 << 21;
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(from) + page - 1) / page * page;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(from) + floats * sizeof(float)) / page * page;
  if (from && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)from, (void)floats;
#endif
}

void copy(float* to, const float* from, long n) {
  if (from)
    std::memcpy(to, from, n * sizeof(float));
  else
    std::fill_n(to, n, 0.0f);
}

}  // namespace unroll
