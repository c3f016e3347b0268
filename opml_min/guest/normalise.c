#include "normalise.h"

#include "fixed.h"

int max_bits(const int64_t *values, uint64_t n)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < n; i++)
        all |= magnitude(values[i]);
    return bits(all);
}

int shrink_to_31_bits(int64_t *values, uint64_t n)
{
    int shift = max(0, max_bits(values, n) - 31);

    if (shift)
        for (uint64_t i = 0; i < n; i++)
            values[i] = round_shift(values[i], shift);
    return shift;
}

void quantise(int16_t *q, const int64_t *values, uint64_t n, int64_t shift, int width)
{
    int64_t limit = (1 << width) - 1;

    for (uint64_t i = 0; i < n; i++)
        q[i] = max(-limit, min(limit, round_shift(values[i], shift)));
}

int32_t normalise(int16_t *q, const int64_t *values, uint64_t n, int64_t fraction_bits, int width)
{
    int longest = max_bits(values, n);

    quantise(q, values, n, longest - width, width);
    return longest ? fraction_bits + width - longest : EXPONENT_OF_ZERO;
}
