/* CROSS_ENTROPY: the gradient of -ln of the target's probability, by the logits: the probabilities, less 1 at the target. */
#include "ops.h"
#include "tensors.h"
#include "work.h"

#define VALUES ((int64_t *)WORK(1))

static const int64_t LOG2_E_Q16 = 94548;

struct cross_entropy_operands {
    void *out;
    int32_t *of_target_q30;
    const int32_t *logits_q12;
    const uint32_t *targets;
    uint64_t rows, vocabulary;
    int64_t width;
};

void cross_entropy(const void *operands, uint64_t update)
{
    const struct cross_entropy_operands *o = operands;
    struct activations out = activations(o->out, o->rows);
    const int32_t *logits = o->logits_q12;

    for (uint64_t t = 0; t < o->rows; t++, logits += o->vocabulary) {
        uint64_t target = index_below(o->targets[t], o->vocabulary);
        int64_t largest = logits[0], whole = 0;

        for (uint64_t j = 1; j < o->vocabulary; j++)
            largest = max(largest, logits[j]);
        for (uint64_t j = 0; j < o->vocabulary; j++) {
            VALUES[j] = exp2_q24(-min(round_shift((largest - logits[j]) * LOG2_E_Q16, 12), INT32_HIGHEST));
            whole += VALUES[j];
        }
        int64_t r = reciprocal(whole), shift = bits(whole);
        for (uint64_t j = 0; j < o->vocabulary; j++)
            VALUES[j] = round_shift(VALUES[j] * r, shift);
        o->of_target_q30[t] = VALUES[target] - (1 << 30);
        VALUES[target] = 0;
        write_activation(out, t, VALUES, o->vocabulary, 30, o->width);
    }
}
