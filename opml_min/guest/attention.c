/* CACHE keeps the keys and values of a position; ATTENTION looks them up: softmax(q . K / sqrt(head_size)) V. */
#include "fixed.h"
#include "normalise.h"
#include "ops.h"
#include "work.h"

enum { QUERY_WIDTH = 13, QKV_FRACTION_BITS = 14 };

struct cache_operands {
    const int32_t *k_q14, *v_q14;  /* (kv_heads, head_size) */
    int16_t *keys;                 /* (kv_heads, context, head_size) */
    int8_t *key_exponents;         /* (kv_heads, context) */
    int16_t *values;
    int8_t *value_exponents;
    uint64_t kv_heads, head_size, context;
};

static int32_t normalise_head(int16_t *q, const int32_t *head_q14, uint64_t head_size, int width)
{
    for (uint64_t i = 0; i < head_size; i++)
        WORK_HEAD[i] = head_q14[i];
    return normalise(q, WORK_HEAD, head_size, QKV_FRACTION_BITS, width);
}

void cache(const void *operands, uint64_t position)
{
    const struct cache_operands *o = operands;

    for (uint64_t head = 0; head < o->kv_heads; head++) {
        uint64_t row = head * o->context + position, from = head * o->head_size, to = row * o->head_size;
        o->key_exponents[row] = normalise_head(o->keys + to, o->k_q14 + from, o->head_size, ACTIVATION_WIDTH);
        o->value_exponents[row] = normalise_head(o->values + to, o->v_q14 + from, o->head_size, ACTIVATION_WIDTH);
    }
}

struct attention_operands {
    struct activation *out;
    const int32_t *q_q14;          /* (heads, head_size) */
    const int16_t *keys;           /* (kv_heads, context, head_size) */
    const int8_t *key_exponents;   /* (kv_heads, context) */
    const int16_t *values;
    const int8_t *value_exponents;
    uint64_t heads, kv_heads, head_size, context;
    int64_t scale_q30;             /* log2(e) / sqrt(head_size) */
};

/* The Q16 scores of all positions so far; returns the largest. */
static int64_t score(int64_t *scores, const int16_t *q, int64_t q_exponent, const int16_t *keys, const int8_t *exponents,
                     const struct attention_operands *o, uint64_t positions)
{
    int64_t largest = INT32_LOWEST;

    for (uint64_t t = 0; t < positions; t++, keys += o->head_size) {
        int64_t dot = 0;
#pragma clang loop unroll_count(8)
        for (uint64_t i = 0; i < o->head_size; i++)
            dot += q[i] * keys[i];
        scores[t] = round_shift_sat32(dot * o->scale_q30, q_exponent + exponents[t] + 14);
        largest = max(largest, scores[t]);
    }
    return largest;
}

/* One head: o = sum_t w_t V[t] / sum_t w_t with w = 2^(score - largest); returns the fraction bits of o. */
static int64_t attend(int64_t *out, int64_t *scores, int64_t largest, const int16_t *values, const int8_t *exponents,
                      uint64_t head_size, uint64_t positions)
{
    int64_t sum = 0, exponent = INT8_MAX;

    for (uint64_t t = 0; t < positions; t++)
        exponent = min(exponent, exponents[t]);
    for (uint64_t i = 0; i < head_size; i++)
        out[i] = 0;
    for (uint64_t t = 0; t < positions; t++, values += head_size) {
        int64_t weight = exp2_q24(scores[t] - largest), aligned = round_shift(weight, exponents[t] - exponent);
        sum += weight;
#pragma clang loop unroll_count(8)
        for (uint64_t i = 0; i < head_size; i++)
            out[i] += aligned * values[i];
    }
    int c = shrink_to_31_bits(out, head_size);
    int64_t r = reciprocal(sum);
    for (uint64_t i = 0; i < head_size; i++)
        out[i] *= r;
    return exponent + bits(sum) + 30 - c;
}

/* The heads differ in their fraction bits, but share one exponent: the least that a value of any head needs. */
static void join_heads(struct activation *out, const int64_t *values, const int64_t *fraction_bits, uint64_t heads, uint64_t head_size)
{
    int64_t none = INT32_HIGHEST, exponent = none;

    for (uint64_t h = 0; h < heads; h++) {
        int longest = max_bits(values + h * head_size, head_size);
        if (longest)
            exponent = min(exponent, fraction_bits[h] + ACTIVATION_WIDTH - longest);
    }
    out->exponent = exponent == none ? EXPONENT_OF_ZERO : exponent;
    for (uint64_t h = 0; h < heads; h++)
        quantise(out->q + h * head_size, values + h * head_size, head_size, fraction_bits[h] - exponent, ACTIVATION_WIDTH);
}

void attention(const void *operands, uint64_t position)
{
    const struct attention_operands *o = operands;
    int64_t *fraction_bits = WORK_FRACTIONS;  /* (heads) */
    int64_t *values = WORK_VALUES;            /* (heads, head_size) */
    uint64_t heads_per_kv_head = o->heads / o->kv_heads;

    for (uint64_t h = 0; h < o->heads; h++) {
        uint64_t cached = h / heads_per_kv_head * o->context, offset = h * o->head_size;
        int32_t q_exponent = normalise_head(WORK_QUERY, o->q_q14 + offset, o->head_size, QUERY_WIDTH);
        int64_t largest = score(WORK_SCORES, WORK_QUERY, q_exponent, o->keys + cached * o->head_size, o->key_exponents + cached, o,
                                position + 1);
        fraction_bits[h] = attend(values + offset, WORK_SCORES, largest, o->values + cached * o->head_size,
                                  o->value_exponents + cached, o->head_size, position + 1);
    }
    join_heads(o->out, values, fraction_bits, o->heads, o->head_size);
}
