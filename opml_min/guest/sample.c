/* SAMPLE in both arithmetics: the next token, the most likely one or one drawn with the request's temperature and seed. */
#include "fixed.h"
#include "float_elementary.h"
#include "ops.h"
#include "request.h"
#include "work.h"

struct sample_operands {
    const int32_t *logits_q12;
    uint64_t length;
};

static const int64_t LOG2_E_Q32 = 6196328018;

/* splitmix64: the bits of one position. */
static uint64_t random_bits(uint64_t seed, uint64_t position)
{
    uint64_t z = seed + (position + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

/* The lowest index of the largest logit. */
static uint64_t argmax(const int32_t *logits, uint64_t length)
{
    uint64_t best = 0;
    int32_t largest = logits[0];

    for (uint64_t j = 1; j < length; j++)
        if (logits[j] > largest) {
            largest = logits[j];
            best = j;
        }
    return best;
}

/* 2^(-distance * scale), Q24, of a logit's distance from the largest. */
static uint64_t likelihood(int64_t distance_q12, int64_t scale_q16)
{
    return exp2_q24(-min(round_shift(distance_q12 * scale_q16, 12), INT32_HIGHEST));
}

/* The first token at which the sum of the likelihoods passes a uniformly drawn part of the whole. */
static uint64_t draw(const int32_t *logits, uint64_t length, uint64_t temperature_q16, uint64_t random)
{
    int64_t largest = logits[argmax(logits, length)], scale_q16 = LOG2_E_Q32 / temperature_q16;
    uint64_t whole = 0, sum = 0, j = 0;

    for (uint64_t i = 0; i < length; i++)
        whole += likelihood(largest - logits[i], scale_q16);
    uint64_t threshold = (unsigned __int128)random * whole >> 64;
    while ((sum += likelihood(largest - logits[j], scale_q16)) <= threshold)
        j++;
    return j;
}

/* The temperature; 0 takes the most likely token. */
static uint64_t temperature_q16(void) { return HEADER->request_kind == REQUEST_TEXT ? REQUEST->text.temperature_q16 : 0; }

static int is_stop_token(uint64_t token)
{
    for (uint64_t k = 0; k < HEADER->stop_token_count; k++)
        if (token == HEADER->stop_tokens[k])
            return 1;
    return 0;
}

static void put(uint64_t token, uint64_t position)
{
    uint64_t index = position - (prompt_length() - 1);

    OUTPUT->tokens[index] = token;
    OUTPUT->count = index + 1;
    OUTPUT->done = HEADER->request_kind != REQUEST_TEXT || is_stop_token(token);
}

void sample(const void *operands, uint64_t position)
{
    const struct sample_operands *o = operands;
    uint64_t temperature = temperature_q16();

    put(temperature ? draw(o->logits_q12, o->length, temperature, random_bits(REQUEST->text.seed, position))
                    : argmax(o->logits_q12, o->length),
        position);
}

struct float_sample_operands {
    const f32 *logits;
    uint64_t length;
};

/* The index of the largest logit. NaNs are ignored, but a NaN in the first place gives 0. */
static uint64_t float_argmax(const f32 *logits, uint64_t length)
{
    uint64_t best = 0;

    for (uint64_t j = 1; j < length; j++)
        if (f32_less(logits[best], logits[j]))
            best = j;
    return best;
}

/* Draws as draw does, with likelihoods e^((logit - largest) / temperature) in Q24; the most likely one if all are 0. */
static uint64_t float_draw(const f32 *logits, uint64_t length, uint64_t temperature_q16, uint64_t random)
{
    uint64_t best = float_argmax(logits, length), whole = 0, sum = 0, j = 0;
    f32 temperature = f32_mul(f32_from_i64(temperature_q16), f32_power_of_two(-16));
    int64_t *likelihoods = WORK_VALUES;

    for (uint64_t i = 0; i < length; i++) {
        f32 likelihood = f32_exp(f32_div(f32_sub(logits[i], logits[best]), temperature));
        likelihoods[i] = f32_to_i64(f32_mul(likelihood, f32_power_of_two(24)));
        whole += likelihoods[i];
    }
    if (whole == 0)
        return best;
    uint64_t threshold = (unsigned __int128)random * whole >> 64;
    while ((sum += likelihoods[j]) <= threshold)
        j++;
    return j;
}

void float_sample(const void *operands, uint64_t position)
{
    const struct float_sample_operands *o = operands;
    uint64_t temperature = temperature_q16();

    put(temperature ? float_draw(o->logits, o->length, temperature, random_bits(REQUEST->text.seed, position))
                    : float_argmax(o->logits, o->length),
        position);
}
