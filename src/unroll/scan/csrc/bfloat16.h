// Numbers rounded to bfloat16: the upper half of a float32, of 8 significant bits.
#pragma once

#include <cstdint>
#include <cstring>

namespace unroll {

// The bits of the nearest bfloat16, in a tie the even one; NaN stays NaN.
static inline std::uint32_t bfloat16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return value == value ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fc0;
}

// Two bfloat16 in the space of a float32, the first in its lower half.
static inline float pair_of(float first, float second) {
  const std::uint32_t both = bfloat16_of(second) << 16 | bfloat16_of(first);
  float place;
  std::memcpy(&place, &both, sizeof place);
  return place;
}

}  // namespace unroll
