#define ISA avx512_bf16
#define WIDTH 16
#define VECS 5
#define MOST_ROWS 5
#define BF16
#include "kernels.h"
