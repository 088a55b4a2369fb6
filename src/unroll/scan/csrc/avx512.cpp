#define ISA avx512
#define WIDTH 16
#define VECS 3
#define MOST_ROWS 8
#include "kernels.h"
