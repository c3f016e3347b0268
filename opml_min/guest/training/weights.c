/* INIT, CAST and EXPORT: master weights are drawn, shortened for the products of an update, and quantised for inference. */
#include "../matrix.h"
#include "../normalise.h"
#include "ops.h"
#include "schedule.h"
#include "tensors.h"

struct init_operands {
    int32_t *master;
    uint64_t count;
    int64_t mean, scale_q16;
    uint64_t stream;
};

/* Four u16 have the sum 131070 in the mean, and the deviation 37837. */
void init(const void *operands, uint64_t update)
{
    const struct init_operands *o = operands;

    for (uint64_t i = 0; i < o->count; i++) {
        uint64_t random = random_bits(o->stream, i);
        int64_t s = (random & 0xFFFF) + (random >> 16 & 0xFFFF) + (random >> 32 & 0xFFFF) + (random >> 48);
        o->master[i] = sat32(o->mean + round_shift((s - 131070) * o->scale_q16, 16));
    }
}

struct cast_operands {
    void *working;
    const int32_t *master;
    uint64_t count;
    int64_t frac, width;
};

void cast(const void *operands, uint64_t update)
{
    const struct cast_operands *o = operands;
    struct activations out = activations(o->working, 1);
    int64_t longest = longest_32(o->master, o->count), shift = longest - o->width, limit = (1 << o->width) - 1;

    out.exponents[0] = longest ? o->frac - shift : EXPONENT_OF_ZERO;
    for (uint64_t i = 0; i < o->count; i++)
        out.q[i] = max(-limit, min(limit, round_shift(o->master[i], shift)));
}

struct export_operands {
    struct q8_0_block *matrix;
    const int32_t *master;
    uint64_t rows, columns;
    int64_t frac;
};

/* The least half, as its bit pattern, that is at least d * 2^-24. A pattern is `doublings << 10` plus 11 bits, whose carry is right. */
static uint64_t next_half(uint64_t d)
{
    uint64_t doublings = max(0, bits(d) - 11);
    return (doublings << 10) + ((d + (1ull << doublings) - 1) >> doublings);
}

/* The 32 columns of a row that lie in one block; those from n on are zeros. */
static void quantise_group(struct q8_0_block *block, uint64_t lane, const int32_t *w, uint64_t n, int64_t frac)
{
    uint64_t largest = 0;
    for (uint64_t c = 0; c < n; c++)
        largest = max(largest, magnitude(w[c]));

    uint64_t limit = 127ull << frac, half = largest ? next_half(((largest << 24) + limit - 1) / limit) : 0;
    int64_t d = half_q24(half);
    block->scales[lane] = half;
    for (uint64_t c = 0; c < GROUP; c++)
        block->weights[c / 2][lane][c % 2] = half && c < n ? floor_division(((int64_t)w[c] << 25) + (d << frac), d << (frac + 1)) : 0;
}

void export_matrix(const void *operands, uint64_t update)
{
    const struct export_operands *o = operands;
    uint64_t groups = (o->columns + GROUP - 1) / GROUP, padded_rows = (o->rows + LANES - 1) / LANES * LANES;

    for (uint64_t row = 0; row < padded_rows; row++)
        for (uint64_t g = 0; g < groups; g++)
            quantise_group(&o->matrix[row / LANES * groups + g], row % LANES, o->master + row * o->columns + g * GROUP,
                           row < o->rows ? min(GROUP, o->columns - g * GROUP) : 0, o->frac);
}
