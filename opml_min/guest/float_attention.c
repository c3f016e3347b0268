/* CACHE and ATTENTION in binary32 (spec §3.6): softmax(q . K / sqrt(head_size)) V. */
#include "dot.h"
#include "float_elementary.h"
#include "ops.h"
#include "work.h"

struct float_cache_operands {
    const f32 *k, *v;  /* (kv_heads, head_size) */
    f32 *keys;         /* (kv_heads, context, head_size) */
    f32 *values;
    uint64_t kv_heads, head_size, context;
};

void float_cache(const void *operands, uint64_t position)
{
    const struct float_cache_operands *o = operands;

    for (uint64_t head = 0; head < o->kv_heads; head++)
        for (uint64_t i = 0; i < o->head_size; i++) {
            uint64_t from = head * o->head_size + i, to = (head * o->context + position) * o->head_size + i;
            o->keys[to] = o->k[from];
            o->values[to] = o->v[from];
        }
}

struct float_attention_operands {
    f32 *out;
    const f32 *q;     /* (heads, head_size) */
    const f32 *keys;  /* (kv_heads, context, head_size) */
    const f32 *values;
    uint64_t heads, kv_heads, head_size, context;
    uint64_t root;    /* of head_size */
};

/* exp(score - largest) / sum, in place. */
static void softmax(f32 *scores, uint64_t n)
{
    f32 largest = scores[0], sum = 0;

    for (uint64_t t = 1; t < n; t++)
        if (f32_less(largest, scores[t]))
            largest = scores[t];
    for (uint64_t t = 0; t < n; t++) {
        scores[t] = f32_exp(f32_sub(scores[t], largest));
        sum = f32_add(sum, scores[t]);
    }
    for (uint64_t t = 0; t < n; t++)
        scores[t] = f32_div(scores[t], sum);
}

void float_attention(const void *operands, uint64_t position)
{
    const struct float_attention_operands *o = operands;
    uint64_t heads_per_kv_head = o->heads / o->kv_heads, positions = position + 1;
    f32 *scores = WORK_FLOATS;  /* (positions) */

    for (uint64_t h = 0; h < o->heads; h++) {
        uint64_t cached = h / heads_per_kv_head * o->context * o->head_size, offset = h * o->head_size;
        struct multiplier q = multiplier(o->q + offset, o->head_size);
        for (uint64_t t = 0; t < positions; t++)
            scores[t] = f32_div(f32_dot(q, o->keys + cached + t * o->head_size, 1), o->root);
        softmax(scores, positions);
        struct multiplier probabilities = multiplier(scores, positions);
        for (uint64_t i = 0; i < o->head_size; i++)
            o->out[offset + i] = f32_dot(probabilities, o->values + cached + i, o->head_size);
    }
}
