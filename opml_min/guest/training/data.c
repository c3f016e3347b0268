/* TOKENS and PICTURES: the batch of an update, drawn from a text or from labelled pictures. */
#include "ops.h"
#include "schedule.h"
#include "tensors.h"

/* A number below `limit`, drawn for the j-th sequence or picture of an update. */
static uint64_t draw(uint64_t stream, uint64_t index, uint64_t limit)
{
    return (unsigned __int128)random_bits(stream, index) * limit >> 64;
}

struct tokens_operands {
    uint32_t *tokens, *targets;
    const uint8_t *text;
    uint64_t token_bytes, count, sequences, period, first, per_update, stream;
};

static uint32_t token_at(const uint8_t *text, uint64_t token_bytes, uint64_t index)
{
    switch (token_bytes) {
    case 1:  return text[index];
    case 2:  return ((const uint16_t *)text)[index];
    default: return ((const uint32_t *)text)[index];
    }
}

void tokens(const void *operands, uint64_t update)
{
    const struct tokens_operands *o = operands;

    for (uint64_t j = 0, row = 0; j < o->sequences; j++) {
        uint64_t start = draw(o->stream, update * o->per_update + o->first + j, o->count - o->period);
        for (uint64_t t = 0; t < o->period; t++, row++) {
            o->tokens[row] = token_at(o->text, o->token_bytes, start + t);
            o->targets[row] = token_at(o->text, o->token_bytes, start + t + 1);
        }
    }
}

struct pictures_operands {
    void *out;
    uint32_t *targets;
    const uint8_t *pictures, *labels;
    uint64_t count, rows, length, first, per_update, stream;
};

/* Bytes are fractions of 256. */
void pictures(const void *operands, uint64_t update)
{
    const struct pictures_operands *o = operands;
    struct activations out = activations(o->out, o->rows);

    for (uint64_t t = 0; t < o->rows; t++) {
        uint64_t index = draw(o->stream, update * o->per_update + o->first + t, o->count);
        out.exponents[t] = 8;
        for (uint64_t i = 0; i < o->length; i++)
            out.q[t * o->length + i] = o->pictures[index * o->length + i];
        o->targets[t] = o->labels[index];
    }
}
