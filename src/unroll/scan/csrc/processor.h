// The instruction sets that were compiled and that this processor has.
#pragma once

#include <vector>

#ifdef UNROLL_AMX
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "scan.h"

namespace unroll {

extern const Kernels generic;
#ifdef UNROLL_X86
extern const Kernels avx2, avx512;
#endif
#ifdef UNROLL_BF16
extern const Kernels avx512_bf16;
#endif
#ifdef UNROLL_AMX
extern const Kernels amx;

// Tiles add 8 KiB to a thread's state, so Linux only saves them for processes that ask for it, for all their threads.
static inline bool may_use_amx() {
  unsigned eax, ebx, ecx, edx = 0;
  const bool there = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 22 & 1) && (edx >> 24 & 1);
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long ask_for_state = 0x1023,
                 tile_data = 18;  // ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of the kernel's headers
  return there && syscall(SYS_arch_prctl, ask_for_state, tile_data) == 0;
#else
  return there && false;
#endif
}
#endif

// Best first; the sets for bf16 are separate from those for float32.
static inline std::vector<const Kernels*> available() {
  std::vector<const Kernels*> supported;
#ifdef UNROLL_X86
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#ifdef UNROLL_BF16
  const bool has_bf16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
#ifdef UNROLL_AMX
  static const bool has_amx = may_use_amx();
  if (has_bf16 && has_amx) supported.push_back(&amx);
#endif
  if (has_bf16) supported.push_back(&avx512_bf16);
#endif
  if (has_avx512) supported.push_back(&avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) supported.push_back(&avx2);
#endif
  supported.push_back(&generic);
  return supported;
}

}  // namespace unroll
