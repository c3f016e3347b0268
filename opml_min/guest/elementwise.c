/* The small ops: ADD, RELU and INPUT. */
#include "fixed.h"
#include "normalise.h"
#include "ops.h"
#include "request.h"
#include "work.h"

struct add_operands {
    int32_t *x;
    const int32_t *y;
    uint64_t length;
};

void add(const void *operands, uint64_t position)
{
    const struct add_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        o->x[i] = sat32((int64_t)o->x[i] + o->y[i]);
}

struct relu_operands {
    struct activation *out;
    const int32_t *x;
    uint64_t length;
    int64_t fraction_bits;
};

void relu(const void *operands, uint64_t position)
{
    const struct relu_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        WORK_VALUES[i] = max(o->x[i], 0);
    normalise_to_activation(o->out, WORK_VALUES, o->length, o->fraction_bits);
}

struct input_operands {
    struct activation *out;
    uint64_t length;
};

/* The bytes of the request as fractions of 256. */
void input(const void *operands, uint64_t position)
{
    const struct input_operands *o = operands;

    o->out->exponent = 8;
    for (uint64_t i = 0; i < o->length; i++)
        o->out->q[i] = REQUEST->bytes[i];
}
