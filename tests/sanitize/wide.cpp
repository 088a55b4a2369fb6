// What AVX-512 has in width, so that its tiles and panels are tested on processors without it, too.
#define ISA wide
#define WIDTH 16
#define VECS 5
#define MOST_ROWS 5
#include "kernels.h"
