// Work split once per call: no barrier inside a kernel, so a core that is busy elsewhere delays a call, not every step.
#pragma once

#include <functional>

namespace unroll {

// Call work(i) for each i from 0 to n, in at most `threads` threads of which the caller is one; whoever comes first takes the
// next. Return when all is done; what a call throws is thrown here. In each thread denormal numbers count as zero meanwhile:
// they say nothing, and cost ten to twenty times as much.
void each(long n, int threads, const std::function<void(long)>& work);

// Call work(begin, end) so for as many parts of 0 to n as there are threads.
void split(long n, int threads, const std::function<void(long, long)>& work);

}  // namespace unroll
