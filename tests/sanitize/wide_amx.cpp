// The tiles of AMX, on processors without it, too.
#define ISA wide_amx
#define WIDTH 16
#define VECS 2
#define MOST_ROWS 32
#define BF16
#define AMX
#include "kernels.h"
