// What AVX-512 has in width, so that its tiles and panels are tested on processors without it, too.
#define ISA wide
#define WIDTH 16
#define VECS 3
#define MOST_ROWS 8
#include "kernels.h"
