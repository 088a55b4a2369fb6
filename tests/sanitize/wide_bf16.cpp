// Products in bf16, on processors without instructions for it, too.
#define ISA wide_bf16
#define WIDTH 16
#define VECS 3
#define MOST_ROWS 8
#define BF16
#include "kernels.h"
