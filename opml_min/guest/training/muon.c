/* MUON: a matrix moves by the orthogonal matrix that is nearest to its gradient, found by five steps of Newton and Schulz. */
#include "../normalise.h"
#include "descent.h"
#include "layout.h"
#include "ops.h"
#include "product.h"
#include "schedule.h"
#include "tensors.h"
#include "work.h"

#define VALUES   ((int64_t *)WORK(1))
#define X        ((int16_t *)WORK(2))  /* (small, large) */
#define A        ((int16_t *)WORK(3))  /* X times its transpose; then B */
#define PANELS   ((int32_t *)WORK(4))
#define COLUMNS  ((int32_t *)WORK(5))
#define PRODUCTS ((int64_t *)WORK(6))

enum { ITERATIONS = 5 };
static const int64_t LINEAR_Q12 = 14109, CUBIC_Q12 = -19558, QUINTIC_Q12 = 8321;

struct muon_operands {
    int32_t *master, *sums, *momentum;
    uint64_t matrix_rows, columns;
    int64_t frac;
    uint64_t rate_q16, decays;
};

/* A product of matrices with `rows` and `columns` rows, into VALUES, times `factor` and shifted. */
static void product_into_values(const int32_t *left, uint64_t rows, const int32_t *right, uint64_t columns, uint64_t depth,
                                int64_t factor, int64_t shift)
{
    uint64_t stride = whole_panels(columns);

    for (uint64_t i = 0; i < rows; i++) {
        if (i % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, left + i * depth, right, columns, depth, depth);
        for (uint64_t j = 0; j < columns; j++)
            VALUES[i * columns + j] = round_shift(PRODUCTS[i % PANEL_ROWS * stride + j] * factor, shift);
    }
}

/* X becomes about 3.4445 X - 4.7750 (X Xt) X + 2.0315 (X Xt)^2 X; returns its fraction bits. */
static int64_t iterate(uint64_t small, uint64_t large, int64_t e)
{
    pack(PANELS, X, small, large, large, 1);
    product_into_values(PANELS, small, PANELS, small, large, 1, 0);
    int64_t e_a = normalise_row(A, VALUES, small * small, 2 * e, ACTIVATION_WIDTH);

    pack(PANELS, A, small, small, small, 1);  /* symmetric: its rows are its columns */
    product_into_values(PANELS, small, PANELS, small, small, QUINTIC_Q12, e_a);
    for (uint64_t i = 0; i < small * small; i++)
        VALUES[i] += CUBIC_Q12 * A[i];
    int64_t e_b = normalise_row(A, VALUES, small * small, e_a + 12, ACTIVATION_WIDTH);

    pack(PANELS, A, small, small, small, 1);
    pack(COLUMNS, X, large, small, 1, large);
    product_into_values(PANELS, small, COLUMNS, large, small, 1, e_b - 12);
    for (uint64_t i = 0; i < small * large; i++)
        VALUES[i] += LINEAR_Q12 * X[i];
    return normalise_row(X, VALUES, small * large, e + 12, ACTIVATION_WIDTH);
}

/* Of VALUES; X and its fraction bits. A matrix of zeros stays one. */
static int64_t orthogonal(uint64_t small, uint64_t large)
{
    uint64_t n = small * large, squares = 0;

    normalise_row(X, VALUES, n, 0, ACTIVATION_WIDTH);
    for (uint64_t i = 0; i < n; i++)
        squares += X[i] * X[i];
    if (squares == 0)
        return EXPONENT_OF_ZERO;
    int64_t half_t = (64 - bits(squares)) / 2, r = rsqrt(squares << 2 * half_t);
    for (uint64_t i = 0; i < n; i++)
        VALUES[i] = X[i] * r;
    int64_t e = normalise_row(X, VALUES, n, 62 - half_t, ACTIVATION_WIDTH);
    for (int i = 0; i < ITERATIONS; i++)
        e = iterate(small, large, e);
    return e;
}

void muon(const void *operands, uint64_t update)
{
    const struct muon_operands *o = operands;
    int64_t rate = rate_q34(update, o->rate_q16), decay = decay_q32(rate, o->decays), mu = REQUEST->momentum_q16;
    int transposed = o->matrix_rows > o->columns;
    uint64_t small = transposed ? o->columns : o->matrix_rows, large = transposed ? o->matrix_rows : o->columns;
    uint64_t row_stride = transposed ? 1 : large, column_stride = transposed ? large : 1;  /* of VALUES and X, by the matrix's indices */

    for (uint64_t i = 0, at = 0; i < o->matrix_rows; i++)
        for (uint64_t j = 0; j < o->columns; j++, at++) {
            int64_t g = o->sums[at], b = sat32(round_shift(o->momentum[at] * mu, 16) + g);
            o->momentum[at] = b;
            VALUES[i * row_stride + j * column_stride] = g + round_shift(b * mu, 16);
        }
    int64_t shift = orthogonal(small, large) - 24;
    for (uint64_t i = 0, at = 0; i < o->matrix_rows; i++)
        for (uint64_t j = 0; j < o->columns; j++, at++) {
            int64_t u = round_shift_sat32(X[i * row_stride + j * column_stride], shift);
            o->master[at] = moved(o->master[at], u, rate, 24 + 34 - o->frac, decay);
            o->sums[at] = 0;
        }
}
