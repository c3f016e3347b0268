/* NORM: x / sqrt(mean(x^2) + eps) * weight. */
#include "fixed.h"
#include "normalise.h"
#include "ops.h"
#include "work.h"

struct norm_operands {
    struct activation *out;
    const int32_t *x, *weights_q24;
    uint64_t length;
    int64_t fraction_bits;
    int64_t eps_q48;
};

void norm(const void *operands, uint64_t position)
{
    const struct norm_operands *o = operands;
    int64_t *z = WORK_VALUES;
    uint64_t all = 0, squares = 0;

    for (uint64_t i = 0; i < o->length; i++)
        all |= magnitude(o->x[i]);

    /* The mean of the squares, of x rounded to 24 bits, so that the sum stays below 2^64. */
    int64_t shift = bits(all) - 24, fraction_bits = o->fraction_bits - shift;
    for (uint64_t i = 0; i < o->length; i++) {
        int64_t x = round_shift(o->x[i], shift);
        squares += x * x;
    }
    uint64_t mean = squares / o->length + round_shift(o->eps_q48, 48 - 2 * fraction_bits);
    int t = all ? (64 - bits(mean)) & ~1 : 0;
    int64_t r = all ? rsqrt(mean << t) : 0;

    for (uint64_t i = 0; i < o->length; i++)
        z[i] = (int64_t)o->x[i] * o->weights_q24[i];
    int c = shrink_to_31_bits(z, o->length);
    for (uint64_t i = 0; i < o->length; i++)
        z[i] *= r;
    normalise_to_activation(o->out, z, o->length, o->fraction_bits + 24 - c + 62 - fraction_bits - t / 2);
}
