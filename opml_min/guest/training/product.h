/* Products of matrices: out[i][j] = sum over d of a[i][d] b[j][d], exact in 64 bits.

   Nearly all steps of a training run are spent here. A matrix is first copied into panels of 4 rows whose elements of one d lie side by
   side: element (i, d) at panels[i / 4 * 4 * depth + 4 * d + i mod 4]. Of two panels a product takes 8 loads for 16 multiplications. */
#ifndef PRODUCT_H
#define PRODUCT_H

#include <stdint.h>

enum { PANEL_ROWS = 4 };

static inline uint64_t whole_panels(uint64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS; }

/* Element (i, d) comes from source[i * row_stride + d * depth_stride]; rows beyond the last are zero. */
void pack(int32_t *panels, const int16_t *source, uint64_t rows, uint64_t depth, uint64_t row_stride, uint64_t depth_stride);

/* Four rows of a product, whose first `depth` terms count: a is a panel, b has n rows in panels of b_depth. Out has rows of `stride`
   elements, of which whole_panels(n) are written. */
void multiply(int64_t *out, uint64_t stride, const int32_t *a, const int32_t *b, uint64_t n, uint64_t b_depth, uint64_t depth);

#endif
