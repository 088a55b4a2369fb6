#define ISA avx2
#define WIDTH 8
#define VECS 2
#define MOST_ROWS 6
#include "kernels.h"
