/* HEADS lays queries, keys and values out head by head; ATTENTION: softmax(q . K / sqrt(head_size)) V of every position. */
#include "attention.h"

#include "../normalise.h"
#include "ops.h"
#include "product.h"
#include "schedule.h"
#include "tensors.h"
#include "work.h"

#define VALUES    ((int64_t *)WORK(1))  /* (period, heads, head_size) */
#define FRACTIONS ((int64_t *)WORK(2))  /* (period, heads) */
#define QUERIES   ((int32_t *)WORK(3))
#define KEYS      ((int32_t *)WORK(4))
#define COLUMNS   ((int32_t *)WORK(5))  /* of the values: head_size rows of period */
#define PRODUCTS  ((int64_t *)WORK(6))
#define WEIGHTS   ((int32_t *)WORK(7))  /* one panel */
#define SUMS      ((int64_t *)WORK(8))

static const int64_t LOG2_E_Q32 = 6196328018;

struct heads_operands {
    void *out;
    const int32_t *vectors;
    uint64_t sequences, period, heads, head_size;
    int64_t fraction_bits, width;
};

void heads(const void *operands, uint64_t update)
{
    const struct heads_operands *o = operands;
    struct activations out = activations(o->out, o->sequences * o->heads);
    uint64_t n = o->period * o->head_size;

    for (uint64_t row = 0; row < o->sequences * o->heads; row++) {
        const int32_t *from = o->vectors + (row / o->heads * o->period * o->heads + row % o->heads) * o->head_size;
        int64_t *value = VALUES;
        for (uint64_t t = 0; t < o->period; t++, from += o->heads * o->head_size)
            for (uint64_t i = 0; i < o->head_size; i++)
                *value++ = from[i];
        write_activation(out, row, VALUES, n, o->fraction_bits, o->width);
    }
}

int64_t root_q30(uint64_t head_size) { return isqrt((1ull << 60) / head_size); }
int64_t scale_q24(int64_t root_q30) { return round_shift(root_q30 * LOG2_E_Q32, 38); }

void weigh(int64_t *products, uint64_t last, int64_t scale_q24, int64_t shift)
{
    int64_t largest = INT32_LOWEST;

    for (uint64_t t = 0; t <= last; t++) {
        products[t] = round_shift_sat32(products[t] * scale_q24, shift);
        largest = max(largest, products[t]);
    }
    for (uint64_t t = 0; t <= last; t++)
        products[t] = exp2_q24(products[t] - largest);
}

struct attention_operands {
    void *out, *q, *k, *v;
    uint64_t sequences, period, heads, kv_heads, head_size;
    int64_t width;
};

/* One query head of a sequence, four positions at a time. */
static void attend(const struct attention_operands *o, uint64_t head, int64_t scale, int64_t shift, int64_t v_exponent)
{
    uint64_t stride = whole_panels(o->period), out_stride = whole_panels(o->head_size);

    for (uint64_t first = 0; first < o->period; first += PANEL_ROWS) {
        uint64_t positions = min(PANEL_ROWS, o->period - first), depth = first + positions;
        int64_t whole[PANEL_ROWS];

        multiply(PRODUCTS, stride, QUERIES + first * o->head_size, KEYS, depth, o->head_size, o->head_size);
        for (uint64_t lane = 0; lane < positions; lane++) {
            int64_t *w = PRODUCTS + lane * stride;
            weigh(w, first + lane, scale, shift);
            whole[lane] = 0;
            for (uint64_t t = 0; t < depth; t++) {
                int64_t seen = t <= first + lane ? w[t] : 0;
                WEIGHTS[PANEL_ROWS * t + lane] = seen;
                whole[lane] += seen;
            }
        }
        multiply(SUMS, out_stride, WEIGHTS, COLUMNS, o->head_size, o->period, depth);
        for (uint64_t lane = 0; lane < positions; lane++) {
            uint64_t at = (first + lane) * o->heads + head;
            int64_t *sums = SUMS + lane * out_stride, r = reciprocal(whole[lane]);
            int c = shrink_to_31_bits(sums, o->head_size);

            FRACTIONS[at] = v_exponent + bits(whole[lane]) + 30 - c;
            for (uint64_t i = 0; i < o->head_size; i++)
                VALUES[at * o->head_size + i] = sums[i] * r;
        }
    }
}

void attention(const void *operands, uint64_t update)
{
    const struct attention_operands *o = operands;
    struct activations out = activations(o->out, o->sequences * o->period), q = activations(o->q, o->sequences * o->heads);
    struct activations k = activations(o->k, o->sequences * o->kv_heads), v = activations(o->v, o->sequences * o->kv_heads);
    uint64_t n = o->period * o->head_size;
    int64_t scale = scale_q24(root_q30(o->head_size));

    for (uint64_t b = 0; b < o->sequences; b++) {
        for (uint64_t h = 0; h < o->heads; h++) {
            uint64_t of_q = b * o->heads + h, of_kv = b * o->kv_heads + h / (o->heads / o->kv_heads);

            pack(QUERIES, q.q + of_q * n, o->period, o->head_size, o->head_size, 1);
            pack(KEYS, k.q + of_kv * n, o->period, o->head_size, o->head_size, 1);
            pack(COLUMNS, v.q + of_kv * n, o->head_size, o->period, 1, o->head_size);
            attend(o, h, scale, (int64_t)q.exponents[of_q] + k.exponents[of_kv] + 8, v.exponents[of_kv]);
        }
        for (uint64_t s = 0; s < o->period; s++)
            join_activation(out, b * o->period + s, VALUES + s * o->heads * o->head_size, FRACTIONS + s * o->heads, o->heads,
                            o->head_size, o->width);
    }
}
