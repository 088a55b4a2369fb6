#include "threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#ifdef UNROLL_X86
#include <immintrin.h>
#endif

#ifdef __unix__
#include <pthread.h>
#endif

namespace unroll {
namespace {

// Flushes denormals to zero, and restores the caller's mode.
class NoDenormals {
 public:
#ifdef UNROLL_X86
  NoDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~NoDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  NoDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | (1ul << 24)));
  }
  ~NoDenormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  unsigned long before_;
#endif
};

// Parts of a call's work, taken by the next free thread.
class Work {
 public:
  Work(long parts, const std::function<void(long)>& work) : parts_(parts), work_(work) {}

  void take() {
    NoDenormals mode;
    for (long part; (part = next_++) < parts_;) {
      try {
        work_(part);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        error_ = std::current_exception();
      }
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const long parts_;
  const std::function<void(long)>& work_;
  std::atomic<long> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

Team team = nullptr;

}  // namespace

void use_team(Team given) {
  team = given;
#ifdef __unix__
  // A forked child has none of the team's threads, and a running OpenMP runtime would wait for them forever.
  static const int once = pthread_atfork(nullptr, nullptr, [] { team = nullptr; });
  (void)once;
#endif
}

void each(long n, int threads, const std::function<void(long)>& work) {
  const unsigned wanted = static_cast<unsigned>(std::max(1L, std::min<long>(threads, n)));
  Work shared(n, work);
  if (wanted > 1 && team)
    team([](void* all) { static_cast<Work*>(all)->take(); }, &shared, wanted, 0);
  else
    shared.take();
  shared.rethrow();
}

void split(long n, int threads, const std::function<void(long, long)>& work) {
  const long parts = std::max(1L, std::min<long>(threads, n));
  each(parts, threads, [&](long part) { work(n * part / parts, n * (part + 1) / parts); });
}

}  // namespace unroll
