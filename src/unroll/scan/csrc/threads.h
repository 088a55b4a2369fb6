// Work split once per call: no barrier inside a kernel, so a core that is busy elsewhere delays a call, not every step.
#pragma once

#include <functional>

namespace unroll {

// Call work(begin, end) for parts of 0 to n, in `threads` threads of which the caller is one; return when all is done.
// In each of them denormal numbers count as zero meanwhile: they say nothing, and cost ten to twenty times as much.
void split(long n, int threads, const std::function<void(long, long)>& work);

}  // namespace unroll
