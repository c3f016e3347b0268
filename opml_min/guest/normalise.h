/* Block floating point: integers of up to 64 bits become w-bit integers with one power-of-two exponent (spec §1.1). */
#ifndef NORMALISE_H
#define NORMALISE_H

#include <stdint.h>

/* An activation: q[i] * 2^-exponent. */
struct activation {
    int32_t exponent;
    int32_t unused[7];
    int16_t q[];
};

enum { ACTIVATION_WIDTH = 15, EXPONENT_OF_ZERO = 127 };

/* The largest bit length. */
int max_bits(const int64_t *values, uint64_t n);

/* Rounds the values to 31 bits, in place; returns the shift. */
int shrink_to_31_bits(int64_t *values, uint64_t n);

/* q_i = round_shift(v_i, shift), clamped to +-(2^width - 1). */
void quantise(int16_t *q, const int64_t *values, uint64_t n, int64_t shift, int width);

/* Writes q; returns the exponent. */
int32_t normalise(int16_t *q, const int64_t *values, uint64_t n, int64_t fraction_bits, int width);

static inline void normalise_to_activation(struct activation *out, const int64_t *values, uint64_t n, int64_t fraction_bits)
{
    out->exponent = normalise(out->q, values, n, fraction_bits, ACTIVATION_WIDTH);
}

#endif
