/* The small ops: ADD, RELU and its gradient, ROUND and SUM. */
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define VALUES ((int64_t *)WORK(1))

struct add_operands {
    int32_t *out;
    const int32_t *x, *y;
    uint64_t count;
};

void add(const void *operands, uint64_t update)
{
    const struct add_operands *o = operands;

    for (uint64_t i = 0; i < o->count; i++)
        o->out[i] = sat32((int64_t)o->x[i] + o->y[i]);
}

struct relu_operands {
    void *out;
    const int32_t *x;
    uint64_t rows, length;
    int64_t fraction_bits, width;
};

void relu(const void *operands, uint64_t update)
{
    const struct relu_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    const int32_t *x = o->x;

    for (uint64_t t = 0; t < o->rows; t++, x += o->length) {
        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] = max(x[i], 0);
        write_activation(out, t, VALUES, o->length, o->fraction_bits, o->width);
    }
}

struct relu_backward_operands {
    void *out, *d;
    const int32_t *x;
    uint64_t rows, length;
    int64_t width;
};

void relu_backward(const void *operands, uint64_t update)
{
    const struct relu_backward_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    struct gradients d = gradients(o->d, o->rows);

    for (uint64_t t = 0, at = 0; t < o->rows; t++) {
        for (uint64_t i = 0; i < o->length; i++, at++)
            VALUES[i] = o->x[at] > 0 ? d.q[at] : 0;
        write_activation(out, t, VALUES, o->length, d.exponents[t], o->width);
    }
}

struct round_operands {
    void *out, *in;
    uint64_t rows, length;
    int64_t width;
};

void round_gradient(const void *operands, uint64_t update)
{
    const struct round_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    struct gradients in = gradients(o->in, o->rows);

    for (uint64_t t = 0, at = 0; t < o->rows; t++) {
        for (uint64_t i = 0; i < o->length; i++, at++)
            VALUES[i] = in.q[at];
        write_activation(out, t, VALUES, o->length, in.exponents[t], o->width);
    }
}

struct sum_operands {
    void *out, *x, *y;
    uint64_t rows, length;
};

void sum(const void *operands, uint64_t update)
{
    const struct sum_operands *o = operands;
    struct gradients out = gradients(o->out, o->rows), x = gradients(o->x, o->rows), y = gradients(o->y, o->rows);

    for (uint64_t t = 0; t < o->rows; t++) {
        const int32_t *a = x.q + t * o->length, *b = y.q + t * o->length;
        int64_t least = least_exponent(NO_EXPONENT, x.exponents[t], any_32(a, o->length));
        least = exponent_or_zeros(least_exponent(least, y.exponents[t], any_32(b, o->length)));
        int64_t shift_a = x.exponents[t] - least, shift_b = y.exponents[t] - least;  /* negative only for a row of zeros */

        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] = round_shift(a[i], shift_a) + round_shift(b[i], shift_b);
        write_gradient(out, t, VALUES, o->length, least);
    }
}
