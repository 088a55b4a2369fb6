#define ISA generic
#define WIDTH 4
#define VECS 3
#define MOST_ROWS 4
#include "kernels.h"
