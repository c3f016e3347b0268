/* MATMUL and its two gradients: of its input and of its weights. */
#include "ops.h"
#include "product.h"
#include "tensors.h"
#include "work.h"

#define LEFT     ((int32_t *)WORK(1))
#define RIGHT    ((int32_t *)WORK(2))
#define PRODUCTS ((int64_t *)WORK(3))
#define ALIGNED  ((int16_t *)WORK(4))
#define EXPONENTS ((int64_t *)WORK(5))

struct matmul_operands {
    int32_t *out;
    void *x, *working;
    uint64_t rows, columns, matrix_rows, first, taken;
    int64_t out_frac;
};

void matmul(const void *operands, uint64_t update)
{
    const struct matmul_operands *o = operands;
    struct activations x = activations(o->x, o->rows), w = activations(o->working, 1);
    uint64_t stride = whole_panels(o->taken);

    pack(LEFT, x.q, o->rows, o->columns, o->columns, 1);
    pack(RIGHT, w.q + o->first * o->columns, o->taken, o->columns, o->columns, 1);
    for (uint64_t t = 0; t < o->rows; t++) {
        const int64_t *row = PRODUCTS + t % PANEL_ROWS * stride;
        int64_t shift = (int64_t)x.exponents[t] + w.exponents[0] - o->out_frac;

        if (t % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, LEFT + t * o->columns, RIGHT, o->taken, o->columns, o->columns);
        for (uint64_t j = 0; j < o->taken; j++)
            o->out[t * o->matrix_rows + o->first + j] = round_shift_sat32(row[j], shift);
    }
}

struct matmul_data_operands {
    void *out, *g, *working;
    uint64_t rows, columns, matrix_rows, first, taken;
};

void matmul_data(const void *operands, uint64_t update)
{
    const struct matmul_data_operands *o = operands;
    struct gradients out = gradients(o->out, o->rows);
    struct activations g = activations(o->g, o->rows), w = activations(o->working, 1);
    uint64_t stride = whole_panels(o->columns);

    pack(LEFT, g.q + o->first, o->rows, o->taken, o->matrix_rows, 1);
    pack(RIGHT, w.q + o->first * o->columns, o->columns, o->taken, 1, o->columns);
    for (uint64_t t = 0; t < o->rows; t++) {
        if (t % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, LEFT + t * o->taken, RIGHT, o->columns, o->taken, o->taken);
        write_gradient(out, t, PRODUCTS + t % PANEL_ROWS * stride, o->columns, (int64_t)g.exponents[t] + w.exponents[0]);
    }
}

struct matmul_weights_operands {
    int32_t *sums;
    void *g, *x;
    uint64_t rows, columns, matrix_rows, first, taken;
    int64_t sum_frac;
};

/* Copies the part of g, with zeros where x is zero, and aligns it, so that all products of a row with x have the same fraction bits;
   returns these. */
static int64_t align_part(const struct matmul_weights_operands *o, struct activations g, struct activations x)
{
    for (uint64_t t = 0; t < o->rows; t++) {
        const int16_t *from = g.q + t * o->matrix_rows + o->first;
        int counts = any_16(x.q + t * o->columns, o->columns);

        EXPONENTS[t] = (int64_t)g.exponents[t] + x.exponents[t];
        for (uint64_t j = 0; j < o->taken; j++)
            ALIGNED[t * o->taken + j] = counts ? from[j] : 0;
    }
    return align(ALIGNED, EXPONENTS, o->rows, o->taken);
}

void matmul_weights(const void *operands, uint64_t update)
{
    const struct matmul_weights_operands *o = operands;
    struct activations g = activations(o->g, o->rows), x = activations(o->x, o->rows);
    uint64_t stride = whole_panels(o->columns);
    int64_t shift = align_part(o, g, x) - o->sum_frac;

    pack(LEFT, ALIGNED, o->taken, o->rows, 1, o->taken);
    pack(RIGHT, x.q, o->columns, o->rows, 1, o->columns);
    for (uint64_t j = 0; j < o->taken; j++) {
        int32_t *sums = o->sums + (o->first + j) * o->columns;
        const int64_t *row = PRODUCTS + j % PANEL_ROWS * stride;

        if (j % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, LEFT + j * o->rows, RIGHT, o->columns, o->rows, o->rows);
        for (uint64_t c = 0; c < o->columns; c++)
            sums[c] = sat32(sums[c] + (int64_t)round_shift_sat32(row[c], shift));
    }
}
