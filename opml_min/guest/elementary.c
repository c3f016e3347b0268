/* Reciprocal square root, reciprocal, exp2 and sigmoid in integers (spec §1.2). */
#include "fixed.h"
#include "sigmoid_table.h"

/* Bit by bit from the top: the largest r with r^2 * v <= 2^124. */
uint64_t rsqrt(uint64_t v)
{
    uint64_t r = 0;

    for (uint64_t bit = 1ull << 31; bit; bit >>= 1) {
        uint64_t larger = r | bit;
        if ((unsigned __int128)(larger * larger) * v <= (unsigned __int128)1 << 124)
            r = larger;
    }
    return r;
}

/* Long division of 2^(b - 1) by v, 31 binary places. */
uint64_t reciprocal(uint64_t v)
{
    uint64_t remainder = 1ull << (bits(v) - 1), quotient = remainder >= v;

    remainder -= quotient ? v : 0;
    for (int place = 0; place < 31; place++) {
        uint64_t digit = 2 * remainder >= v;
        remainder = 2 * remainder - (digit ? v : 0);
        quotient = 2 * quotient + digit;
    }
    return quotient;
}

/* 2^f for a fraction f in Q30 as a polynomial, then 2^i as a shift. */
uint64_t exp2_q24(int64_t z_q16)
{
    static const int32_t coefficients[] = {234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824};
    int64_t i = z_q16 >> 16, f = (z_q16 & 0xFFFF) << 14, p = coefficients[0];

    for (int k = 1; k < 7; k++)
        p = round_shift(p * f, 30) + coefficients[k];
    return round_shift(p, 6 - i);
}

/* Between the entries of a table for g >= 0, one minus that for g < 0. */
int64_t sigmoid_q30(int64_t g_q14)
{
    int64_t one = 1 << 30, a = magnitude(g_q14), s = one;

    if (a < 1 << 18) {
        const int32_t *entry = &sigmoid_table[a >> 6];
        s = entry[0] + round_shift((entry[1] - (int64_t)entry[0]) * (a & 63), 6);
    }
    return g_q14 < 0 ? one - s : s;
}
