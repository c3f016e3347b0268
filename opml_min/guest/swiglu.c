/* SWIGLU: gate * sigmoid(gate) * up. */
#include "fixed.h"
#include "normalise.h"
#include "ops.h"
#include "work.h"

struct swiglu_operands {
    struct activation *out;
    const int32_t *gate_q14, *up_q14;
    uint64_t length;
};

void swiglu(const void *operands, uint64_t position)
{
    const struct swiglu_operands *o = operands;
    int64_t *p = WORK_VALUES;

    for (uint64_t i = 0; i < o->length; i++)
        p[i] = o->gate_q14[i] * sigmoid_q30(o->gate_q14[i]);
    int c = shrink_to_31_bits(p, o->length);
    for (uint64_t i = 0; i < o->length; i++)
        p[i] *= o->up_q14[i];
    normalise_to_activation(o->out, p, o->length, 14 + 30 - c + 14);
}
