// The logits of a single-layer classifier with readout "last" in one call: unscaled sequences, scaling, the scan, the head.
// A group of sequences is finished before the next one starts, so that intermediate results stay in the cache.
#pragma once

#include <cstdint>

#include "passes.h"

namespace unroll {

// bytes: (batch, time, inputs); or null, and floats. mean, scale: (inputs), x = (values - mean) * scale, feature by feature;
// or null if the floats are scaled already. w_out: (classes, hidden); logits: (batch, classes). Biases of the scan may be null.
void answer(const Layout& a, const std::uint8_t* bytes, const float* floats, const float* mean, const float* scale,
            const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh, const float* w_out,
            const float* b_out, long classes, float* logits);

}  // namespace unroll
