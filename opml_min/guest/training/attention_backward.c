/* ATTENTION_BACKWARD: the gradients of queries, keys and values. The weights are computed again, in few bits, rather than kept. */
#include "../normalise.h"
#include "attention.h"
#include "ops.h"
#include "product.h"
#include "tensors.h"
#include "work.h"

/* Operands of products, in panels: (period, head_size) by rows, and by columns. */
#define QUERIES       ((int32_t *)WORK(1))
#define KEYS          ((int32_t *)WORK(2))
#define V_ROWS        ((int32_t *)WORK(3))
#define OUT_GRADIENTS ((int32_t *)WORK(4))
#define KEY_COLUMNS   ((int32_t *)WORK(5))
#define BY_COLUMNS    ((int32_t *)WORK(6))
#define LEFT          ((int32_t *)WORK(7))

#define PRODUCTS      ((int64_t *)WORK(8))
#define OF_WEIGHTS    ((int64_t *)WORK(9))   /* four rows of dP, then of dS */

/* Of a query head. */
#define WEIGHTS       ((int16_t *)WORK(10))  /* p: (period, period) */
#define OF_SCORES     ((int16_t *)WORK(11))  /* dS: (period, period) */
#define OUT_ROWS      ((int16_t *)WORK(12))  /* do: (period, head_size) */
#define SCALED_ROWS   ((int16_t *)WORK(13))  /* Z: (period, head_size) */
#define VALUES        ((int64_t *)WORK(14))

/* (period, heads, head_size) and (period, heads) of a sequence; of keys and values first of the query heads of one kv head. */
#define OF_QUERIES    ((int64_t *)WORK(20))
#define OF_KEYS       ((int64_t *)WORK(21))
#define OF_VALUES     ((int64_t *)WORK(22))
#define KEY_PARTS     ((int64_t *)WORK(23))
#define VALUE_PARTS   ((int64_t *)WORK(24))
#define Q_FRACTIONS   ((int64_t *)WORK(25))
#define K_FRACTIONS   ((int64_t *)WORK(26))
#define V_FRACTIONS   ((int64_t *)WORK(27))

/* (period) of a query head, then (query heads of a kv head). */
#define OUT_EXPONENTS    ((int64_t *)WORK(28))
#define SCORE_EXPONENTS  ((int64_t *)WORK(29))
#define SCALED_EXPONENTS ((int64_t *)WORK(30))
#define KEY_PART_BITS    ((int64_t *)WORK(31))
#define VALUE_PART_BITS  ((int64_t *)WORK(32))

struct attention_backward_operands {
    void *out_q, *out_k, *out_v, *q, *k, *v, *d;
    uint64_t sequences, period, heads, kv_heads, head_size;
    int64_t width;
};

/* The row of position s, of dS and of Z, from the products do . V and the weights. */
static void one_position(const struct attention_backward_operands *o, uint64_t s, int64_t *p, int64_t *of_weights, int64_t root,
                         int64_t v_exponent)
{
    int64_t whole = 0, weighted = 0, highest = (1 << o->width) - 1;

    for (uint64_t t = 0; t <= s; t++) {
        p[t] = min(round_shift(p[t], 24 - o->width), highest);
        whole += p[t];
        weighted += p[t] * of_weights[t];
        WEIGHTS[s * o->period + t] = p[t];
    }
    int64_t mean = floor_division(weighted, whole), r = reciprocal(whole), factor = round_shift(r * root, 30);

    for (uint64_t t = 0; t <= s; t++)
        of_weights[t] = p[t] * (of_weights[t] - mean);
    int c = shrink_to_31_bits(of_weights, s + 1);
    for (uint64_t t = 0; t <= s; t++)
        of_weights[t] *= factor;
    int64_t fraction_bits = OUT_EXPONENTS[s] + bits(whole) + 30;
    SCORE_EXPONENTS[s] = normalise_row(OF_SCORES + s * o->period, of_weights, s + 1, fraction_bits + v_exponent - c, o->width);

    for (uint64_t i = 0; i < o->head_size; i++)
        VALUES[i] = OUT_ROWS[s * o->head_size + i] * r;
    SCALED_EXPONENTS[s] = normalise_row(SCALED_ROWS + s * o->head_size, VALUES, o->head_size, fraction_bits, o->width);
}

/* do, dS and Z of a query head. */
static void rows_of_head(const struct attention_backward_operands *o, const int32_t *d, const int32_t *d_exponents, uint64_t head,
                         int64_t root, int64_t shift, int64_t v_exponent)
{
    uint64_t stride = whole_panels(o->period), size = o->head_size;
    int64_t scale = scale_q24(root);

    for (uint64_t s = 0; s < o->period; s++) {
        for (uint64_t i = 0; i < size; i++)
            VALUES[i] = d[(s * o->heads + head) * size + i];
        OUT_EXPONENTS[s] = normalise_row(OUT_ROWS + s * size, VALUES, size, d_exponents[s], o->width);
    }
    pack(OUT_GRADIENTS, OUT_ROWS, o->period, size, size, 1);

    for (uint64_t first = 0; first < o->period; first += PANEL_ROWS) {
        uint64_t positions = min(PANEL_ROWS, o->period - first);
        multiply(PRODUCTS, stride, QUERIES + first * size, KEYS, first + positions, size, size);
        multiply(OF_WEIGHTS, stride, OUT_GRADIENTS + first * size, V_ROWS, first + positions, size, size);
        for (uint64_t lane = 0; lane < positions; lane++) {
            weigh(PRODUCTS + lane * stride, first + lane, scale, shift);
            one_position(o, first + lane, PRODUCTS + lane * stride, OF_WEIGHTS + lane * stride, root, v_exponent);
        }
    }
}

/* out[t] = sum over s >= t of left[s][t] right[s], for square `left` and (period, head_size) `right` and out. */
static void multiply_transposed(int64_t *out, const int16_t *left, const int16_t *right, uint64_t period, uint64_t size)
{
    uint64_t stride = whole_panels(size);

    pack(LEFT, left, period, period, 1, period);
    pack(BY_COLUMNS, right, size, period, 1, size);
    for (uint64_t t = 0; t < period; t++, out += size) {
        if (t % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, LEFT + t * period + PANEL_ROWS * t, BY_COLUMNS + PANEL_ROWS * t, size, period, period - t);
        for (uint64_t i = 0; i < size; i++)
            out[i] = PRODUCTS[t % PANEL_ROWS * stride + i];
    }
}

/* dq of a query head. */
static void of_queries(const struct attention_backward_operands *o, uint64_t head, int64_t k_exponent)
{
    uint64_t period = o->period, size = o->head_size, stride = whole_panels(size);

    pack(LEFT, OF_SCORES, period, period, period, 1);
    for (uint64_t s = 0; s < period; s++) {
        uint64_t at = s * o->heads + head;
        if (s % PANEL_ROWS == 0)
            multiply(PRODUCTS, stride, LEFT + s * period, KEY_COLUMNS, size, period, min(s + PANEL_ROWS, period));
        for (uint64_t i = 0; i < size; i++)
            OF_QUERIES[at * size + i] = PRODUCTS[s % PANEL_ROWS * stride + i];
        Q_FRACTIONS[at] = SCORE_EXPONENTS[s] + k_exponent;
    }
}

/* Adds the parts of the query heads of a kv head, position by position. */
static void add_parts(int64_t *out, int64_t *fractions, const int64_t *parts, const int64_t *part_bits, uint64_t count,
                      const struct attention_backward_operands *o, uint64_t kv_head)
{
    uint64_t size = o->head_size, n = o->period * size;

    for (uint64_t t = 0; t < o->period; t++) {
        uint64_t at = t * o->kv_heads + kv_head;
        int64_t least = NO_EXPONENT;

        for (uint64_t part = 0; part < count; part++)
            least = least_exponent(least, part_bits[part], any_64(parts + part * n + t * size, size));
        fractions[at] = least = exponent_or_zeros(least);
        for (uint64_t i = 0; i < size; i++) {
            int64_t total = 0;
            for (uint64_t part = 0; part < count; part++)
                total += round_shift(parts[part * n + t * size + i], part_bits[part] - least);
            out[at * size + i] = total;
        }
    }
}

void attention_backward(const void *operands, uint64_t update)
{
    const struct attention_backward_operands *o = operands;
    uint64_t rows = o->sequences * o->period, size = o->head_size, n = o->period * size, group = o->heads / o->kv_heads;
    struct activations q = activations(o->q, o->sequences * o->heads), k = activations(o->k, o->sequences * o->kv_heads);
    struct activations v = activations(o->v, o->sequences * o->kv_heads);
    struct gradients d = gradients(o->d, rows), out_q = gradients(o->out_q, rows), out_k = gradients(o->out_k, rows);
    struct gradients out_v = gradients(o->out_v, rows);
    int64_t root = root_q30(size);

    for (uint64_t b = 0; b < o->sequences; b++) {
        for (uint64_t kv_head = 0; kv_head < o->kv_heads; kv_head++) {
            uint64_t of_kv = b * o->kv_heads + kv_head;
            int64_t k_exponent = k.exponents[of_kv], v_exponent = v.exponents[of_kv];

            pack(KEYS, k.q + of_kv * n, o->period, size, size, 1);
            pack(KEY_COLUMNS, k.q + of_kv * n, size, o->period, 1, size);
            pack(V_ROWS, v.q + of_kv * n, o->period, size, size, 1);
            for (uint64_t part = 0; part < group; part++) {
                uint64_t head = kv_head * group + part, of_q = b * o->heads + head;
                int64_t q_exponent = q.exponents[of_q];

                pack(QUERIES, q.q + of_q * n, o->period, size, size, 1);
                rows_of_head(o, d.q + b * o->heads * n, d.exponents + b * o->period, head, root, q_exponent + k_exponent + 8, v_exponent);
                of_queries(o, head, k_exponent);
                KEY_PART_BITS[part] = align(OF_SCORES, SCORE_EXPONENTS, o->period, o->period) + q_exponent;
                multiply_transposed(KEY_PARTS + part * n, OF_SCORES, q.q + of_q * n, o->period, size);
                VALUE_PART_BITS[part] = align(SCALED_ROWS, SCALED_EXPONENTS, o->period, size);
                multiply_transposed(VALUE_PARTS + part * n, WEIGHTS, SCALED_ROWS, o->period, size);
            }
            add_parts(OF_KEYS, K_FRACTIONS, KEY_PARTS, KEY_PART_BITS, group, o, kv_head);
            add_parts(OF_VALUES, V_FRACTIONS, VALUE_PARTS, VALUE_PART_BITS, group, o, kv_head);
        }
        for (uint64_t s = 0; s < o->period; s++) {
            uint64_t row = b * o->period + s;
            join_gradient(out_q, row, OF_QUERIES + s * o->heads * size, Q_FRACTIONS + s * o->heads, o->heads, size);
            join_gradient(out_k, row, OF_KEYS + s * o->kv_heads * size, K_FRACTIONS + s * o->kv_heads, o->kv_heads, size);
            join_gradient(out_v, row, OF_VALUES + s * o->kv_heads * size, V_FRACTIONS + s * o->kv_heads, o->kv_heads, size);
        }
    }
}
