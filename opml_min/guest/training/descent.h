/* How a weight moves: by a step u with f fraction bits, at a rate, and by its decay (spec §6.7). */
#ifndef DESCENT_H
#define DESCENT_H

#include "../fixed.h"

/* shift = f + 34 - frac. */
static inline int32_t moved(int32_t weight, int64_t u, int64_t rate_q34, int64_t shift, int64_t decay_q32)
{
    return sat32(weight - round_shift(u * rate_q34, shift) - round_shift(weight * decay_q32, 32));
}

#endif
