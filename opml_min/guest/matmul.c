/* MATMUL: y = W x, 8 rows at a time. Nearly all steps of a model are spent here, so each 64-bit word of weights is used as it
   lies in memory, and one multiplication serves two rows. A word holds 2 columns (bytes) of 4 rows (16 bits apart); a mask
   that keeps one weight u >= 0 of row a and the same of row a + 2 makes u_a + 2^32 u_(a+2); times the activation q and summed
   over the block this is S_a + 2^32 S_(a+2) mod 2^64, from which both sums come back exactly if |S_a| < 2^31. */
#include "fixed.h"
#include "matrix.h"
#include "normalise.h"
#include "ops.h"
#include "work.h"

struct matmul_operands {
    int32_t *out;
    const struct activation *in;
    const void *matrix;
    uint64_t format, rows, columns;
    int64_t out_fraction_bits;
};

#define TOP_BIT_OF_EVERY_BYTE 0x8080808080808080
#define BYTE_OF_TWO_ROWS   0x000000FF000000FF
#define NIBBLE_OF_TWO_ROWS 0x0000000F0000000F

static inline uint64_t word(const uint8_t weights[LANES][2], int half) { return ((const uint64_t *)weights)[half]; }

/* The sums of rows a and a + 2 out of S_a + 2^32 S_(a+2). */
static inline void split(int64_t both, int64_t *sums)
{
    sums[0] = (int32_t)both;
    sums[2] = (both - sums[0]) >> 32;
}

/* Q8_0: w + 128 is an unsigned byte u, so sum w q = sum u q - 128 sum q, for both rows at once. |sum w q| <= 32 * 128 * 32768 = 2^27. */
static inline void dot_bytes(int64_t sums[LANES], const struct q8_0_block *block, const int16_t *q, int64_t sum_q)
{
    uint64_t start = -128 * sum_q * 0x100000001;
    uint64_t even[2] = {start, start}, odd[2] = {start, start};  /* rows 0 and 2, rows 1 and 3 of each half tile */

#pragma clang loop unroll_count(2)  /* not more: a translator can put 8 iterations into one vector */
    for (int pair = 0; pair < GROUP / 2; pair++) {
        int64_t q0 = q[2 * pair], q1 = q[2 * pair + 1];
        for (int half = 0; half < 2; half++) {
            uint64_t u = word(block->weights[pair], half) ^ TOP_BIT_OF_EVERY_BYTE;
            even[half] += (u & BYTE_OF_TWO_ROWS) * q0 + (u >> 8 & BYTE_OF_TWO_ROWS) * q1;
            odd[half] += (u >> 16 & BYTE_OF_TWO_ROWS) * q0 + (u >> 24 & BYTE_OF_TWO_ROWS) * q1;
        }
    }
    for (int half = 0; half < 2; half++) {
        split(even[half], sums + 4 * half);
        split(odd[half], sums + 4 * half + 1);
    }
}

/* Q4_0 and Q4_1: nibbles u are so small that a sum over 16 columns stays below 2^23 in size, and 2^32 times it can be shifted up by 8
   bits more. So a mask may leave its weights 4 or 8 bits up; only their sum is shifted back. */
struct nibble_sums {
    uint64_t up0, up4, up8;  /* times 1, 2^4, 2^8 */
};

static inline int64_t shifted_back(struct nibble_sums s) { return s.up0 + ((int64_t)s.up4 >> 4) + ((int64_t)s.up8 >> 8); }

/* Half a tile at a time, so that all sums stay in registers. */
static inline void dot_nibbles(int64_t sums[LANES], const uint8_t weights[GROUP / 4][LANES][2], const int16_t *q)
{
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
        struct nibble_sums even = {}, odd = {};  /* rows 0 and 2, rows 1 and 3 */

#pragma clang loop unroll_count(2)
        for (int pair = 0; pair < GROUP / 4; pair++) {
            int64_t q0 = q[2 * pair], q1 = q[2 * pair + 1], q16 = q[2 * pair + 16], q17 = q[2 * pair + 17];
            uint64_t u = word(weights[pair], half);
            even.up0 += (u & NIBBLE_OF_TWO_ROWS) * q0;
            even.up4 += (u & NIBBLE_OF_TWO_ROWS << 4) * q16;
            even.up8 += (u & NIBBLE_OF_TWO_ROWS << 8) * q1;
            u >>= 12;
            even.up0 += (u & NIBBLE_OF_TWO_ROWS) * q17;
            odd.up4 += (u & NIBBLE_OF_TWO_ROWS << 4) * q0;
            odd.up8 += (u & NIBBLE_OF_TWO_ROWS << 8) * q16;
            u >>= 12;
            odd.up0 += (u & NIBBLE_OF_TWO_ROWS) * q1;
            odd.up4 += (u & NIBBLE_OF_TWO_ROWS << 4) * q17;
        }
        split(shifted_back(even), sums + 4 * half);
        split(shifted_back(odd), sums + 4 * half + 1);
    }
}

/* A tile of each format: acc[lane] += d (sum w q) (+ m sum q) for every group. */
static void tile_q8_0(int64_t acc[LANES], const struct q8_0_block *block, const int16_t *q, const int64_t *group_sums, uint64_t groups)
{
    for (uint64_t g = 0; g < groups; g++, block++, q += GROUP) {
        int64_t sums[LANES];
        dot_bytes(sums, block, q, group_sums[g]);
#pragma clang loop unroll(full)
        for (int lane = 0; lane < LANES; lane++)
            acc[lane] += half_q24(block->scales[lane]) * sums[lane];
    }
}

static void tile_q4_0(int64_t acc[LANES], const struct q4_0_block *block, const int16_t *q, const int64_t *group_sums, uint64_t groups)
{
    for (uint64_t g = 0; g < groups; g++, block++, q += GROUP) {
        int64_t sums[LANES];
        dot_nibbles(sums, block->weights, q);
#pragma clang loop unroll(full)
        for (int lane = 0; lane < LANES; lane++)
            acc[lane] += half_q24(block->scales[lane]) * (sums[lane] - 8 * group_sums[g]);
    }
}

static void tile_q4_1(int64_t acc[LANES], const struct q4_1_block *block, const int16_t *q, const int64_t *group_sums, uint64_t groups)
{
    for (uint64_t g = 0; g < groups; g++, block++, q += GROUP) {
        int64_t sums[LANES];
        dot_nibbles(sums, block->weights, q);
#pragma clang loop unroll(full)
        for (int lane = 0; lane < LANES; lane++)
            acc[lane] += half_q24(block->scales[lane]) * sums[lane] + half_q24(block->minima[lane]) * group_sums[g];
    }
}

void matmul(const void *operands, uint64_t position)
{
    const struct matmul_operands *o = operands;
    uint64_t groups = o->columns / GROUP;
    const int16_t *q = o->in->q;
    int64_t *group_sums = WORK_GROUP_SUMS;
    int64_t shift = (int64_t)o->in->exponent + 24 - o->out_fraction_bits;

    for (uint64_t g = 0; g < groups; g++) {
        group_sums[g] = 0;
        for (int c = 0; c < GROUP; c++)
            group_sums[g] += q[g * GROUP + c];
    }

    for (uint64_t row = 0; row < o->rows; row += LANES) {
        int64_t acc[LANES] = {};
        uint64_t first_block = row / LANES * groups;
        if (o->format == Q8_0)
            tile_q8_0(acc, (const struct q8_0_block *)o->matrix + first_block, q, group_sums, groups);
        else if (o->format == Q4_0)
            tile_q4_0(acc, (const struct q4_0_block *)o->matrix + first_block, q, group_sums, groups);
        else
            tile_q4_1(acc, (const struct q4_1_block *)o->matrix + first_block, q, group_sums, groups);
        for (uint64_t lane = 0; lane < LANES && row + lane < o->rows; lane++)
            o->out[row + lane] = round_shift_sat32(acc[lane], shift);
    }
}
