// Memory that the passes share.
#pragma once

namespace unroll {

// A thread's scratch memory for a kernel, kept between calls, as allocating it would cost as much as a short scan
// (scratch.cpp; the sanitised kernels get memory of exactly this size).
float* scratch(long floats);

// Ask for huge pages for large tensors, as the first touch of a page costs as much as the arithmetic on it.
void expect_large(void* from, long floats);

// From zeros, if there is nothing to copy from.
void copy(float* to, const float* from, long n);

}  // namespace unroll
