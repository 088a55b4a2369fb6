#define ISA amx
#define WIDTH 16
#define VECS 2
#define MOST_ROWS 32
#define BF16
#define AMX
#define TILES_OF_AMX
#include "kernels.h"
