// What a classifier of one layer says that is read out at its end, in one call: sequences as they are kept, scaling, the scan,
// the head. A group of sequences goes all the way before the next one is taken: what lies between stays in the cache.
#pragma once

#include <cstdint>

#include "passes.h"

namespace unroll {

// bytes: (batch, time, inputs); or null, and floats. mean, scale: (inputs), x being (them - mean) * scale, feature by feature;
// or null, the floats being x already. w_out: (classes, hidden); logits: (batch, classes). Biases of the scan may be null.
void answer(const Layout& a, const std::uint8_t* bytes, const float* floats, const float* mean, const float* scale,
            const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh, const float* w_out,
            const float* b_out, long classes, float* logits);

}  // namespace unroll
