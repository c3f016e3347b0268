/* EMBED: the row of the token out of a matrix, into the residual stream. */
#include "fixed.h"
#include "matrix.h"
#include "ops.h"
#include "request.h"

struct embed_operands {
    int32_t *out;
    const void *matrix;
    uint64_t format, columns, length;
    int64_t fraction_bits;
};

static int64_t nibble(const uint8_t weights[][LANES][2], uint64_t lane, uint64_t c)
{
    uint8_t byte = weights[c % 16 / 2][lane][c % 2];
    return c < 16 ? byte & 15 : byte >> 4;
}

/* Q24: weight times scale, plus the minimum. */
static int64_t element_q24(const struct embed_operands *o, uint64_t row, uint64_t column)
{
    uint64_t block = row / LANES * (o->columns / GROUP) + column / GROUP, lane = row % LANES, c = column % GROUP;

    if (o->format == Q8_0) {
        const struct q8_0_block *b = (const struct q8_0_block *)o->matrix + block;
        return (int8_t)b->weights[c / 2][lane][c % 2] * half_q24(b->scales[lane]);
    }
    if (o->format == Q4_0) {
        const struct q4_0_block *b = (const struct q4_0_block *)o->matrix + block;
        return (nibble(b->weights, lane, c) - 8) * half_q24(b->scales[lane]);
    }
    const struct q4_1_block *b = (const struct q4_1_block *)o->matrix + block;
    return nibble(b->weights, lane, c) * half_q24(b->scales[lane]) + half_q24(b->minima[lane]);
}

void embed(const void *operands, uint64_t position)
{
    const struct embed_operands *o = operands;
    uint64_t token = token_at(position);

    for (uint64_t column = 0; column < o->length; column++)
        o->out[column] = round_shift_sat32(element_q24(o, token, column), 24 - o->fraction_bits);
}
