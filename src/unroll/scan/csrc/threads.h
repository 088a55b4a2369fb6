// Work split once per call: no barrier inside a kernel, so a core that is busy elsewhere delays a call, not every step.
#pragma once

#include <functional>

namespace unroll {

// What runs a function in so many threads, of which the caller is one, and returns when all have: GOMP_parallel of the OpenMP
// runtime that torch computes with. Its threads spin for a moment between torch's operations; others would have no core.
using Team = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

// Share work with this team from now on. Without one, and in a forked child, the calling thread does it all.
void use_team(Team team);

// Call work(i) for each i from 0 to n, in at most `threads` threads of which the caller is one; whichever comes first takes the
// next. Return when all is done; what a call throws is thrown here. In each thread denormal numbers count as zero meanwhile:
// they say nothing, and cost ten to twenty times as much.
void each(long n, int threads, const std::function<void(long)>& work);

// Call work(begin, end) so for as many parts of 0 to n as there are threads.
void split(long n, int threads, const std::function<void(long, long)>& work);

}  // namespace unroll
