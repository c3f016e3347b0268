/* Fixed-point arithmetic (spec §1.1): the one rounding, saturation, bit lengths. Signed overflow wraps (-fwrapv), and
   a shift to the right of a negative number is arithmetic. */
#ifndef FIXED_H
#define FIXED_H

#include <stdint.h>

#define INT32_LOWEST  (-0x80000000LL)
#define INT32_HIGHEST 0x7FFFFFFFLL

static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline uint64_t magnitude(int64_t v) { return v < 0 ? -(uint64_t)v : (uint64_t)v; }
static inline int bits(uint64_t v) { return v ? 64 - __builtin_clzll(v) : 0; }
static inline int32_t sat32(int64_t v) { return v < INT32_LOWEST ? INT32_LOWEST : v > INT32_HIGHEST ? INT32_HIGHEST : v; }

static inline int64_t floor_division(int64_t a, int64_t b) { return a / b - (a % b < 0); }  /* b > 0 */

/* v * 2^-s, half rounded up; the caller knows that it fits. For s >= 64 it is 0, whatever v. */
static inline int64_t round_shift(int64_t v, int64_t s)
{
    if (s <= 0)
        return (int64_t)((uint64_t)v << (-s & 63));
    if (s >= 64)
        return 0;
    return (v >> s) + (v >> (s - 1) & 1);
}

/* sat32(v * 2^-s) for any s: what is not 0 saturates when shifted up by 32 or more. */
static inline int32_t round_shift_sat32(int64_t v, int64_t s)
{
    return sat32(s > 0 ? round_shift(v, s) : (int64_t)sat32(v) << min(-s, 32));
}

uint64_t rsqrt(uint64_t v);      /* floor(2^62 / sqrt(v)) for 2^62 <= v < 2^64: in (2^30, 2^31] */
uint64_t reciprocal(uint64_t v); /* floor(2^(bits(v) + 30) / v) for 1 <= v < 2^63: in (2^30, 2^31] */
uint64_t exp2_q24(int64_t z_q16);   /* 2^z for z <= 0 */
int64_t sigmoid_q30(int64_t g_q14);

#endif
