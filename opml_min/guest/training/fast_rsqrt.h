/* The rsqrt of fixed.h in 40 steps instead of 400, for ADAM, which needs one for each parameter. */
#ifndef FAST_RSQRT_H
#define FAST_RSQRT_H

#include <stdint.h>

/* floor(2^62 / sqrt(v)) for 2^62 <= v < 2^64: a parabola, which is right within 2.5 %, then three times Newton. Each error is 1.5 times
   the square of the one before: 2^-10, 2^-19, 2^-37. Newton never comes out above the root, so the result is right or one too small. */
static inline uint64_t fast_rsqrt(uint64_t v)
{
    uint64_t x = v >> 34;  /* v * 2^-64 in Q30 */
    uint64_t y = 2867824744 - ((3527716384 - (1759446830 * x >> 30)) * x >> 30);

    for (int i = 0; i < 2; i++) {
        uint64_t v_y_y = (v >> 32) * (y * y >> 30);  /* near 1 in Q62 */
        y = y * (((3ull << 62) - v_y_y) >> 32) >> 31;
    }
    int64_t error = (1ull << 60) - 1 - ((unsigned __int128)(y * y) * v >> 64);  /* of 1 in Q60, and never too large */
    y += (int64_t)y * (error >> 20) >> 41;

    unsigned __int128 next = (unsigned __int128)((y + 1) * (y + 1)) * v;
    return y + (next <= (unsigned __int128)1 << 124);
}

#endif
