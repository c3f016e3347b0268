/* NORM: x / sqrt(mean(x^2) + eps) * gain of each row, and its gradients. */
#include "../normalise.h"
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define VALUES   ((int64_t *)WORK(1))
#define UNIT     ((int64_t *)WORK(2))  /* x / sqrt(mean) of a row */
#define H        ((int64_t *)WORK(3))
#define GAIN_SUM ((int64_t *)WORK(4))

/* Of a row that is not all zero: 2^62 / sqrt(mean * 2^t), where the squares are of x rounded to 24 bits. */
struct root {
    int64_t shift;          /* of x, to 24 bits */
    int64_t fraction_bits;  /* of x after that shift */
    int64_t half_t;
    int64_t r;
};

static struct root root_of(const int32_t *x, uint64_t length, int longest, int64_t fraction_bits, int64_t eps_q48)
{
    struct root root = {.shift = longest - 24, .fraction_bits = fraction_bits - (longest - 24)};
    uint64_t squares = 0;

    for (uint64_t i = 0; i < length; i++) {
        int64_t shifted = round_shift(x[i], root.shift);
        squares += shifted * shifted;
    }
    uint64_t mean = squares / length + round_shift(eps_q48, 48 - 2 * root.fraction_bits);
    root.half_t = (64 - bits(mean)) / 2;
    root.r = rsqrt(mean << 2 * root.half_t);
    return root;
}

struct norm_operands {
    void *out;
    const int32_t *x, *gains_q24;
    uint64_t rows, length;
    int64_t fraction_bits, eps_q48, width;
};

void norm(const void *operands, uint64_t update)
{
    const struct norm_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    const int32_t *x = o->x;

    for (uint64_t t = 0; t < o->rows; t++, x += o->length) {
        int longest = longest_32(x, o->length);
        struct root root = {};
        int c = 0;

        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] = (int64_t)x[i] * o->gains_q24[i];
        if (longest) {
            root = root_of(x, o->length, longest, o->fraction_bits, o->eps_q48);
            c = shrink_to_31_bits(VALUES, o->length);
            for (uint64_t i = 0; i < o->length; i++)
                VALUES[i] *= root.r;
        }
        write_activation(out, t, VALUES, o->length, o->fraction_bits + 24 - c + 62 - root.fraction_bits - root.half_t, o->width);
    }
}

struct norm_backward_operands {
    void *out;
    int32_t *sums;
    void *g;
    const int32_t *x, *gains_q24;
    uint64_t rows, length;
    int64_t fraction_bits, eps_q48, sum_frac;
};

/* To 26 bits; returns the exponent. */
static int64_t normalise_to_26_bits(int64_t *values, uint64_t n, int64_t fraction_bits)
{
    int64_t longest = max_bits(values, n), shift = longest - 26, limit = (1 << 26) - 1;

    for (uint64_t i = 0; i < n; i++)
        values[i] = max(-limit, min(limit, round_shift(values[i], shift)));
    return longest ? fraction_bits - shift : EXPONENT_OF_ZERO;
}

/* g along the direction of x changes nothing but the length, which a norm forgets: that part is taken off. */
static int64_t values_backward(const int32_t *g, int64_t g_exponent, const struct norm_backward_operands *o, struct root root)
{
    int64_t unit_bits = 31 - root.half_t, along = 0;

    for (uint64_t i = 0; i < o->length; i++)
        H[i] = (int64_t)g[i] * o->gains_q24[i];
    int64_t h_exponent = normalise_to_26_bits(H, o->length, g_exponent + 24);
    for (uint64_t i = 0; i < o->length; i++)
        along += H[i] * UNIT[i];
    int64_t m = floor_division(along, o->length);
    int c = shrink_to_31_bits(&m, 1);
    for (uint64_t i = 0; i < o->length; i++)
        VALUES[i] = H[i] - round_shift(UNIT[i] * m, 2 * unit_bits - c);
    int c2 = shrink_to_31_bits(VALUES, o->length);
    for (uint64_t i = 0; i < o->length; i++)
        VALUES[i] *= root.r;
    return h_exponent - c2 + 62 - root.fraction_bits - root.half_t;
}

void norm_backward(const void *operands, uint64_t update)
{
    const struct norm_backward_operands *o = operands;
    struct gradients out = gradients(o->out, o->rows), g = gradients(o->g, o->rows);

    for (uint64_t t = 0; t < o->rows; t++) {
        const int32_t *x = o->x + t * o->length, *q = g.q + t * o->length;
        int longest = longest_32(x, o->length);
        int64_t fraction_bits = 0;

        if (longest) {
            struct root root = root_of(x, o->length, longest, o->fraction_bits, o->eps_q48);
            for (uint64_t i = 0; i < o->length; i++) {
                UNIT[i] = round_shift(round_shift(x[i], root.shift) * root.r, 31);
                GAIN_SUM[i] += round_shift_sat32(q[i] * UNIT[i], (int64_t)g.exponents[t] + 31 - root.half_t - o->sum_frac);
            }
            fraction_bits = values_backward(q, g.exponents[t], o, root);
        } else
            for (uint64_t i = 0; i < o->length; i++)
                VALUES[i] = 0;
        write_gradient(out, t, VALUES, o->length, fraction_bits);
    }
    for (uint64_t i = 0; i < o->length; i++)
        o->sums[i] = sat32(o->sums[i] + GAIN_SUM[i]);
}
