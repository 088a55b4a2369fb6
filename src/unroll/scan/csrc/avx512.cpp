#define ISA avx512
#define WIDTH 16
#define VECS 5
#define MOST_ROWS 5
#include "kernels.h"
