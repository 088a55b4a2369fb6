// The logits of a single-layer classifier with readout "last" in one call: unscaled sequences, scaling, the scan, the head.
// A group of sequences is finished before the next one starts, so that intermediate results stay in the cache.
#pragma once

#include <cstdint>

#include "passes.h"

namespace unroll {

// Sequences: bytes (batch, time, inputs), or null, and floats; and their scaling, x = (values - mean) * scale, feature by
// feature; mean is null if the floats are scaled already.
struct Source {
  const std::uint8_t* bytes;
  const float *floats, *mean, *scale;
};

// weight: (classes, hidden); logits: (batch, classes).
void answer(const Layout& a, const Source& from, const Tensors& tensors, const float* weight, const float* bias,
            long classes, float* logits);

}  // namespace unroll
