// Split work once per call, without barriers inside a kernel: a core busy elsewhere delays a call, not every step.
#pragma once

#include <functional>

namespace unroll {

// Runs a function in a number of threads, including the caller, and returns when all have finished: GOMP_parallel of torch's
// OpenMP runtime. Its threads spin briefly after each operation, so other threads would have no core.
using Team = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

// Share work with this team from now on. Without a team, and in a forked child, the calling thread does everything.
void use_team(Team team);

// Call work(i) for each i from 0 to n, in at most `threads` threads including the caller; the next free thread takes the next i.
// Return when all are done; rethrow exceptions. Meanwhile each thread flushes denormal numbers to zero: they do not matter, and
// cost ten to twenty times as much.
void each(long n, int threads, const std::function<void(long)>& work);

// Likewise call work(begin, end) for one part of 0 to n per thread.
void split(long n, int threads, const std::function<void(long, long)>& work);

}  // namespace unroll
