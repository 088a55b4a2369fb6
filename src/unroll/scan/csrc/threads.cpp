#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#ifdef UNROLL_X86
#include <immintrin.h>
#endif

#ifdef __unix__
#include <pthread.h>
#endif

namespace unroll {
namespace {

// Flushes denormals to zero, and leaves the caller's mode as it was.
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

inline void pause() {
#ifdef UNROLL_X86
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Look for a moment, before going to sleep: to be woken takes longer than a short scan. It is bounded in time, so that
// a core is not kept from others for long.
template <class Condition>
bool soon(const Condition& condition) {
  using namespace std::chrono;
  const auto end = steady_clock::now() + microseconds(50);
  while (!condition()) {
    for (int i = 0; i < 16; ++i) pause();
    if (steady_clock::now() > end) return condition();
  }
  return true;
}

// Threads that sleep until there is work. They end with the process: joining them there could wait for ever.
class Pool {
 public:
  void push(std::function<void()> task) {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    waiting_ = tasks_.size();
    if (idle_ < tasks_.size()) {
      std::thread([this] { work(); }).detach();
      ++idle_;
    }
    wake_.notify_one();
  }

 private:
  void work() {
    for (;;) {
      soon([this] { return waiting_.load(std::memory_order_relaxed) > 0; });
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !tasks_.empty(); });
      --idle_;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      waiting_ = tasks_.size();
      lock.unlock();
      task();
      lock.lock();
      ++idle_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::atomic<std::size_t> waiting_{0};  // tasks_.size(), to be looked at without the lock
  std::size_t idle_ = 0;                 // threads that wait, or are about to
};

Pool* the_pool = nullptr;
std::mutex making;

Pool& pool() {
  std::lock_guard<std::mutex> lock(making);
  if (!the_pool) {
    the_pool = new Pool;
#ifdef __unix__
    // A forked child has the memory of the pool, but none of its threads.
    static const int once = pthread_atfork(nullptr, nullptr, [] { the_pool = nullptr; });
    (void)once;
#endif
  }
  return *the_pool;
}

}  // namespace

namespace {

// Parts of a call's work, which whoever comes first takes. It outlives the call: a thread that the system wakes late finds
// nothing left, and nobody has waited for it.
struct Work {
  const std::function<void(long, long)>& work;  // there as long as a part is left
  const long n, parts;
  std::atomic<long> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable all_done;

  Work(const std::function<void(long, long)>& to_do, long size, long count) : work(to_do), n(size), parts(count) {}

  void take() {
    for (long part; (part = next++) < parts;) {
      {
        NoDenormals mode;
        work(n * part / parts, n * (part + 1) / parts);
      }
      std::lock_guard<std::mutex> lock(mutex);
      if (++done == parts) all_done.notify_one();
    }
  }
};

}  // namespace

void split(long n, int threads, const std::function<void(long, long)>& work) {
  const long parts = std::max(1L, std::min<long>(threads, n));
  if (parts == 1) {
    NoDenormals mode;
    return work(0, n);
  }
  const auto shared = std::make_shared<Work>(work, n, parts);
  for (long part = 1; part < parts; ++part) pool().push([shared] { shared->take(); });
  shared->take();
  soon([&] { return shared->done == parts; });
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == parts; });
}

}  // namespace unroll
