/* ROPE: rotates neighbouring pairs by the angles of their position; backward it rotates the gradient the opposite way. */
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define VALUES ((int64_t *)WORK(1))

struct rope_operands {
    int32_t *vectors;  /* (rows, heads, head_size / 2, 2) */
    uint64_t rows, period, heads, head_size;
    const int32_t *table_q30;  /* (period, head_size / 2, 2): cos, sin */
};

void rope(const void *operands, uint64_t update)
{
    const struct rope_operands *o = operands;
    int32_t *pair = o->vectors;

    for (uint64_t t = 0; t < o->rows; t++) {
        const int32_t *angles = o->table_q30 + t % o->period * o->head_size;
        for (uint64_t h = 0; h < o->heads; h++)
            for (uint64_t j = 0; j < o->head_size; j += 2, pair += 2) {
                int64_t a = pair[0], b = pair[1], cos = angles[j], sin = angles[j + 1];
                pair[0] = round_shift_sat32(a * cos - b * sin, 30);
                pair[1] = round_shift_sat32(a * sin + b * cos, 30);
            }
    }
}

struct rope_backward_operands {
    void *out, *in;
    uint64_t rows, period, heads, head_size;
    const int32_t *table_q30;
    int64_t width;
};

void rope_backward(const void *operands, uint64_t update)
{
    const struct rope_backward_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    struct gradients in = gradients(o->in, o->rows);
    uint64_t length = o->heads * o->head_size;
    const int32_t *pair = in.q;

    for (uint64_t t = 0; t < o->rows; t++) {
        const int32_t *angles = o->table_q30 + t % o->period * o->head_size;
        int64_t *value = VALUES;
        for (uint64_t h = 0; h < o->heads; h++)
            for (uint64_t j = 0; j < o->head_size; j += 2, pair += 2) {
                int64_t a = pair[0], b = pair[1], cos = angles[j], sin = angles[j + 1];
                *value++ = a * cos + b * sin;
                *value++ = b * cos - a * sin;
            }
        write_activation(out, t, VALUES, length, (int64_t)in.exponents[t] + 30, o->width);
    }
}
