#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
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

// Parts of a call's work, which whoever comes first takes. It outlives the call: a thread that the system wakes late finds
// nothing left, and nobody has waited for it.
class Work {
 public:
  Work(long parts, const std::function<void(long)>& work) : parts_(parts), work_(work) {}

  bool is_taken() const { return next_ >= parts_; }

  void take() {
    for (long part; (part = next_++) < parts_;) {
      std::exception_ptr error;
      try {
        NoDenormals mode;
        work_(part);
      } catch (...) {
        error = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(mutex_);
      if (error) error_ = error;
      if (++done_ == parts_) all_done_.notify_one();
    }
  }

  void wait() {
    soon([this] { return done_ == parts_; });
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_ == parts_; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const long parts_;
  const std::function<void(long)>& work_;  // there as long as a part is left
  std::atomic<long> next_{0}, done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  std::exception_ptr error_;
};

// Threads that sleep until there is work. They end with the process: joining them there could wait for ever.
class Pool {
 public:
  // Let up to so many threads help with it; callers at the same time share them, for each can do all of its work itself.
  void push(const std::shared_ptr<Work>& work, long helpers) {
    std::lock_guard<std::mutex> lock(mutex_);
    // What was done before a thread came by.
    tasks_.erase(std::remove_if(tasks_.begin(), tasks_.end(), [](const auto& task) { return task->is_taken(); }),
                 tasks_.end());
    tasks_.insert(tasks_.end(), helpers, work);
    waiting_ = tasks_.size();
    while (idle_ < tasks_.size() && threads_ < helpers && grows()) ++idle_, ++threads_;
    for (long i = 0; i < helpers; ++i) wake_.notify_one();
  }

 private:
  // Start a thread, if the system allows one more. No exception may leave push(): the queue then would outlive the caller's
  // work. What nobody takes from the queue the caller does itself, and the next push() tries again.
  bool grows() {
    try {
      std::thread([this] { help(); }).detach();
      return true;
    } catch (...) {
      return false;
    }
  }

  void help() {
    for (;;) {
      soon([this] { return waiting_.load(std::memory_order_relaxed) > 0; });
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !tasks_.empty(); });
      --idle_;
      const std::shared_ptr<Work> task = std::move(tasks_.front());
      tasks_.pop_front();
      waiting_ = tasks_.size();
      lock.unlock();
      task->take();
      lock.lock();
      ++idle_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Work>> tasks_;
  std::atomic<std::size_t> waiting_{0};  // tasks_.size(), to be looked at without the lock
  std::size_t idle_ = 0;                 // threads that wait, or are about to
  long threads_ = 0;
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

void each(long n, int threads, const std::function<void(long)>& work) {
  const long helpers = std::min<long>(threads, n) - 1;
  if (helpers < 1) {
    NoDenormals mode;
    for (long i = 0; i < n; ++i) work(i);
    return;
  }
  const auto shared = std::make_shared<Work>(n, work);
  pool().push(shared, helpers);
  shared->take();
  shared->wait();
}

void split(long n, int threads, const std::function<void(long, long)>& work) {
  const long parts = std::max(1L, std::min<long>(threads, n));
  each(parts, threads, [&](long part) { work(n * part / parts, n * (part + 1) / parts); });
}

}  // namespace unroll
