/* How values become rows of a tensor (spec §6.3). */
#include "tensors.h"

#include "../normalise.h"

int longest_32(const int32_t *values, uint64_t n)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < n; i++)
        all |= magnitude(values[i]);
    return bits(all);
}

int any_16(const int16_t *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (values[i])
            return 1;
    return 0;
}

int any_32(const int32_t *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (values[i])
            return 1;
    return 0;
}

int any_64(const int64_t *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (values[i])
            return 1;
    return 0;
}

/* The finest exponent with which all values fit the width. */
static int64_t joint_exponent(const int64_t *values, const int64_t *fraction_bits, uint64_t heads, uint64_t head_size, int width)
{
    int64_t exponent = NO_EXPONENT;

    for (uint64_t h = 0; h < heads; h++) {
        int longest = max_bits(values + h * head_size, head_size);
        exponent = least_exponent(exponent, fraction_bits[h] + width - longest, longest);
    }
    return exponent_or_zeros(exponent);
}

void join_activation(struct activations out, uint64_t row, const int64_t *values, const int64_t *fraction_bits, uint64_t heads,
                     uint64_t head_size, int width)
{
    int64_t exponent = joint_exponent(values, fraction_bits, heads, head_size, width);
    int16_t *q = out.q + row * heads * head_size;

    out.exponents[row] = sat32(exponent);
    for (uint64_t h = 0; h < heads; h++)
        quantise(q + h * head_size, values + h * head_size, head_size, fraction_bits[h] - exponent, width);
}

void join_gradient(struct gradients out, uint64_t row, const int64_t *values, const int64_t *fraction_bits, uint64_t heads,
                   uint64_t head_size)
{
    int64_t exponent = joint_exponent(values, fraction_bits, heads, head_size, GRADIENT_WIDTH), limit = (1 << GRADIENT_WIDTH) - 1;
    int32_t *q = out.q + row * heads * head_size;

    out.exponents[row] = sat32(exponent);
    for (uint64_t h = 0; h < heads; h++) {
        int64_t shift = fraction_bits[h] - exponent;
        for (uint64_t i = 0; i < head_size; i++)
            *q++ = max(-limit, min(limit, round_shift(*values++, shift)));
    }
}

void write_activation(struct activations out, uint64_t row, const int64_t *values, uint64_t n, int64_t fraction_bits, int width)
{
    join_activation(out, row, values, &fraction_bits, 1, n, width);
}

void write_gradient(struct gradients out, uint64_t row, const int64_t *values, uint64_t n, int64_t fraction_bits)
{
    join_gradient(out, row, values, &fraction_bits, 1, n);
}

int64_t normalise_row(int16_t *q, const int64_t *values, uint64_t n, int64_t fraction_bits, int width)
{
    int64_t exponent = joint_exponent(values, &fraction_bits, 1, n, width);

    quantise(q, values, n, fraction_bits - exponent, width);
    return exponent;
}

int64_t align(int16_t *rows, const int64_t *exponents, uint64_t count, uint64_t length)
{
    int64_t least = NO_EXPONENT;

    for (uint64_t t = 0; t < count; t++)
        least = least_exponent(least, exponents[t], any_16(rows + t * length, length));
    for (uint64_t t = 0; t < count; t++, rows += length) {
        int64_t shift = exponents[t] - least;  /* negative only for a row of zeros */
        if (shift)
            for (uint64_t i = 0; i < length; i++)
                rows[i] = round_shift(rows[i], shift);
    }
    return exponent_or_zeros(least);
}
