/* Products of matrices in tiles of 4 x 4 (product.h). */
#include "product.h"

void pack(int32_t *panels, const int16_t *source, uint64_t rows, uint64_t depth, uint64_t row_stride, uint64_t depth_stride)
{
    for (uint64_t row = 0; row < rows; row += PANEL_ROWS, source += PANEL_ROWS * row_stride, panels += PANEL_ROWS * depth) {
        if (rows - row >= PANEL_ROWS) {
            const int16_t *from = source;
            for (uint64_t d = 0; d < depth; d++, from += depth_stride)
                for (uint64_t lane = 0; lane < PANEL_ROWS; lane++)
                    panels[PANEL_ROWS * d + lane] = from[lane * row_stride];
        } else
            for (uint64_t d = 0; d < depth; d++)
                for (uint64_t lane = 0; lane < PANEL_ROWS; lane++)
                    panels[PANEL_ROWS * d + lane] = row + lane < rows ? source[lane * row_stride + d * depth_stride] : 0;
    }
}

/* All 16 sums stay in registers. */
static inline void tile(int64_t *out, uint64_t stride, const int32_t *a, const int32_t *b, uint64_t depth)
{
    int64_t sums[PANEL_ROWS][PANEL_ROWS] = {};
    const int32_t *end = a + PANEL_ROWS * depth;

#pragma clang loop unroll_count(2)
    for (; a != end; a += PANEL_ROWS, b += PANEL_ROWS)
#pragma clang loop unroll(full)
        for (int i = 0; i < PANEL_ROWS; i++)
#pragma clang loop unroll(full)
            for (int j = 0; j < PANEL_ROWS; j++)
                sums[i][j] += (int64_t)a[i] * b[j];
#pragma clang loop unroll(full)
    for (int i = 0; i < PANEL_ROWS; i++)
#pragma clang loop unroll(full)
        for (int j = 0; j < PANEL_ROWS; j++)
            out[i * stride + j] = sums[i][j];
}

void multiply(int64_t *out, uint64_t stride, const int32_t *a, const int32_t *b, uint64_t n, uint64_t b_depth, uint64_t depth)
{
    for (uint64_t j = 0; j < n; j += PANEL_ROWS)
        tile(out + j, stride, a, b + j * b_depth, depth);
}
