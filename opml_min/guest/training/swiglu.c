/* SWIGLU: gate * sigmoid(gate) * up of each row, and its gradients. */
#include "../normalise.h"
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define VALUES ((int64_t *)WORK(1))
#define SLOPES ((int64_t *)WORK(2))
#define PARTS  ((int64_t *)WORK(3))

struct swiglu_operands {
    void *out;
    const int32_t *gate_q14, *up_q14;
    uint64_t rows, length;
    int64_t width;
};

void swiglu(const void *operands, uint64_t update)
{
    const struct swiglu_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    const int32_t *gate = o->gate_q14, *up = o->up_q14;

    for (uint64_t t = 0; t < o->rows; t++, gate += o->length, up += o->length) {
        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] = gate[i] * sigmoid_q30(gate[i]);
        int c = shrink_to_31_bits(VALUES, o->length);
        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] *= up[i];
        write_activation(out, t, VALUES, o->length, 58 - c, o->width);
    }
}

struct swiglu_backward_operands {
    void *out_gate, *out_up, *d;
    const int32_t *gate_q14, *up_q14;
    uint64_t rows, length;
    int64_t width;
};

/* The derivative of g * sigmoid(g), Q24. Where |g| is so large that the inner product is long, the outer factor is 0. */
static int64_t silu_slope(int64_t g, int64_t sigmoid)
{
    return round_shift(sigmoid * ((1 << 24) + round_shift(g * ((1 << 30) - sigmoid), 20)), 30);
}

void swiglu_backward(const void *operands, uint64_t update)
{
    const struct swiglu_backward_operands *o = operands;
    struct activations out_gate = activations(o->out_gate, o->rows), out_up = activations(o->out_up, o->rows);
    struct gradients in = gradients(o->d, o->rows);
    const int32_t *gate = o->gate_q14, *up = o->up_q14, *d = in.q;

    for (uint64_t t = 0; t < o->rows; t++, gate += o->length, up += o->length, d += o->length) {
        int64_t fraction_bits = in.exponents[t];

        for (uint64_t i = 0; i < o->length; i++) {
            int64_t g = gate[i], sigmoid = sigmoid_q30(g);
            VALUES[i] = g * sigmoid;
            SLOPES[i] = silu_slope(g, sigmoid);
            PARTS[i] = (int64_t)d[i] * up[i];
        }
        int c = shrink_to_31_bits(VALUES, o->length);
        for (uint64_t i = 0; i < o->length; i++)
            VALUES[i] *= d[i];
        write_activation(out_up, t, VALUES, o->length, fraction_bits + 44 - c, o->width);

        c = shrink_to_31_bits(PARTS, o->length);
        for (uint64_t i = 0; i < o->length; i++)
            PARTS[i] *= SLOPES[i];
        write_activation(out_gate, t, PARTS, o->length, fraction_bits + 38 - c, o->width);
    }
}
