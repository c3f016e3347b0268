/* ROPE: rotates the neighbouring pairs of each head by the angles of the position. */
#include "fixed.h"
#include "ops.h"

struct rope_operands {
    int32_t *vector;  /* (heads, head_size / 2, 2), Q14 */
    uint64_t heads, head_size;
    const int32_t *table_q30;  /* (context, head_size / 2, 2): cos, sin */
};

void rope(const void *operands, uint64_t position)
{
    const struct rope_operands *o = operands;
    const int32_t *angles = o->table_q30 + position * o->head_size;
    int32_t *pair = o->vector;

    for (uint64_t head = 0; head < o->heads; head++)
        for (uint64_t j = 0; j < o->head_size; j += 2, pair += 2) {
            int64_t a = pair[0], b = pair[1], cos = angles[j], sin = angles[j + 1];
            pair[0] = round_shift_sat32(a * cos - b * sin, 30);
            pair[1] = round_shift_sat32(a * sin + b * cos, 30);
        }
}
