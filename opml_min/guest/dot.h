/* Sums of products in binary32, each product and each partial sum rounded, in the order of the index and from +0 (spec §1.3):
   the inner loop of MATMUL and ATTENTION, and the sum of squares of NORM. */
#ifndef DOT_H
#define DOT_H

#include "binary32.h"

/* A vector about to be multiplied by several others. There is room for the parts of one at a time. */
struct multiplier {
    const f32 *values;
    uint64_t n;
    int is_plain;  /* all values are normal or 0 */
};

struct multiplier multiplier(const f32 *values, uint64_t n);

/* The sum of values[i] * y[i * stride]. */
f32 f32_dot(struct multiplier x, const f32 *y, uint64_t stride);

#endif
