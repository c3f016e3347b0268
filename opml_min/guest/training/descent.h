/* How a weight moves: by a step u with f fraction bits, at a rate, and by its decay (spec §6.7). */
#ifndef DESCENT_H
#define DESCENT_H

#include "../fixed.h"

/* sat32 in two steps if v fits, as it nearly always does. */
static inline int32_t saturated(int64_t v)
{
    if (__builtin_expect((int32_t)v == v, 1))
        return v;
    return v < 0 ? INT32_LOWEST : INT32_HIGHEST;
}

/* round_shift for 0 < s < 64 where the sum with the half fits, which it does in all of spec §6.7. */
static inline int64_t rounded(int64_t v, int64_t s) { return (v + (1ll << (s - 1))) >> s; }

/* shift = f + 34 - frac, which is 4 … 40 for the operands that spec §6.8 allows. */
static inline int32_t moved(int32_t weight, int64_t u, int64_t rate_q34, int64_t shift, int64_t decay_q32)
{
    return saturated(weight - rounded(u * rate_q34, shift) - rounded(weight * decay_q32, 32));
}

#endif
