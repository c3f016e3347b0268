/* Matrices in tiles of 8 rows and blocks of 32 columns (spec §3.4). */
#ifndef MATRIX_H
#define MATRIX_H

#include <stdint.h>

#include "tape.h"

enum { LANES = 8, GROUP = 32 };  /* rows of a tile, columns of a block */

/* An IEEE half as the integer half * 2^24: fraction f, exponent field x: f if x = 0, else (1024 + f) * 2^(x - 1). */
static inline int64_t half_q24(int16_t half)
{
    uint64_t unsigned_bits = half & 0x7FFF, x = unsigned_bits >> 10, doublings = x - (x != 0);
    int64_t value = (unsigned_bits - (doublings << 10)) << doublings, sign = half >> 15;
    return (value ^ sign) - sign;
}

/* Scales and minima are bit patterns of halfs. */
struct q8_0_block {
    uint8_t weights[GROUP / 2][LANES][2];  /* signed */
    int16_t scales[LANES];
};

struct q4_0_block {
    uint8_t weights[GROUP / 4][LANES][2];  /* low half: columns 0 to 15, high half: 16 to 31 */
    int16_t scales[LANES];
};

struct q4_1_block {
    uint8_t weights[GROUP / 4][LANES][2];
    int16_t scales[LANES];
    int16_t minima[LANES];
};

#endif
