/* Rows of a matrix that an index chooses: EMBED and its gradient, and the target's part of the classifier's gradients. */
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define PRODUCTS ((int64_t *)WORK(1))
#define FIRST_OF ((uint32_t *)WORK(2))  /* of each row of the matrix: 1 + the first row of the batch that has its index, or 0 */
#define NEXT_OF  ((uint32_t *)WORK(3))  /* of each row of the batch: 1 + the next one with the same index, or 0 */

struct embed_operands {
    int32_t *out;
    void *working;
    const uint32_t *tokens;
    uint64_t rows, columns, matrix_rows;
    int64_t fraction_bits;
};

void embed(const void *operands, uint64_t update)
{
    const struct embed_operands *o = operands;
    struct activations w = activations(o->working, 1);
    int64_t shift = w.exponents[0] - o->fraction_bits;

    for (uint64_t t = 0; t < o->rows; t++) {
        const int16_t *from = w.q + index_below(o->tokens[t], o->matrix_rows) * o->columns;
        for (uint64_t c = 0; c < o->columns; c++)
            o->out[t * o->columns + c] = round_shift_sat32(from[c], shift);
    }
}

struct target_data_operands {
    void *out;
    const int32_t *of_target_q30;
    const uint32_t *targets;
    void *working;
    uint64_t rows, columns, matrix_rows;
};

void target_data(const void *operands, uint64_t update)
{
    const struct target_data_operands *o = operands;
    struct gradients out = gradients(o->out, o->rows);
    struct activations w = activations(o->working, 1);

    for (uint64_t t = 0; t < o->rows; t++) {
        const int16_t *from = w.q + index_below(o->targets[t], o->matrix_rows) * o->columns;
        for (uint64_t c = 0; c < o->columns; c++)
            PRODUCTS[c] = (int64_t)o->of_target_q30[t] * from[c];
        write_gradient(out, t, PRODUCTS, o->columns, 30 + (int64_t)w.exponents[0]);
    }
}

/* Chains the rows of a batch that have the same index, so that all parts of a sum are added before it saturates. */
static void chain_rows(const uint32_t *indices, uint64_t rows, uint64_t matrix_rows)
{
    for (uint64_t t = rows; t-- > 0;) {
        uint64_t j = index_below(indices[t], matrix_rows);
        NEXT_OF[t] = FIRST_OF[j];
        FIRST_OF[j] = t + 1;
    }
}

/* Adds to the sums of a row what `PRODUCTS` holds, and clears that. */
static void add_products(int32_t *sums, uint64_t columns)
{
    for (uint64_t c = 0; c < columns; c++) {
        sums[c] = sat32(sums[c] + PRODUCTS[c]);
        PRODUCTS[c] = 0;
    }
}

struct target_weights_operands {
    int32_t *sums;
    const int32_t *of_target_q30;
    const uint32_t *targets;
    void *x;
    uint64_t rows, columns, matrix_rows;
    int64_t sum_frac;
};

void target_weights(const void *operands, uint64_t update)
{
    const struct target_weights_operands *o = operands;
    struct activations x = activations(o->x, o->rows);

    chain_rows(o->targets, o->rows, o->matrix_rows);
    for (uint64_t first = 0; first < o->rows; first++) {
        uint64_t j = index_below(o->targets[first], o->matrix_rows);
        if (FIRST_OF[j] != first + 1)
            continue;
        for (uint64_t next = first + 1; next; next = NEXT_OF[next - 1]) {
            uint64_t t = next - 1;
            for (uint64_t c = 0; c < o->columns; c++)
                PRODUCTS[c] += round_shift_sat32((int64_t)o->of_target_q30[t] * x.q[t * o->columns + c], 30 + (int64_t)x.exponents[t] - o->sum_frac);
        }
        add_products(o->sums + j * o->columns, o->columns);
    }
}

struct embed_weights_operands {
    int32_t *sums;
    void *d;
    const uint32_t *tokens;
    uint64_t rows, columns, matrix_rows;
    int64_t sum_frac;
};

void embed_weights(const void *operands, uint64_t update)
{
    const struct embed_weights_operands *o = operands;
    struct gradients d = gradients(o->d, o->rows);

    chain_rows(o->tokens, o->rows, o->matrix_rows);
    for (uint64_t first = 0; first < o->rows; first++) {
        uint64_t j = index_below(o->tokens[first], o->matrix_rows);
        if (FIRST_OF[j] != first + 1)
            continue;
        for (uint64_t next = first + 1; next; next = NEXT_OF[next - 1]) {
            uint64_t t = next - 1;
            for (uint64_t c = 0; c < o->columns; c++)
                PRODUCTS[c] += round_shift_sat32(d.q[t * o->columns + c], d.exponents[t] - o->sum_frac);
        }
        add_products(o->sums + j * o->columns, o->columns);
    }
}
