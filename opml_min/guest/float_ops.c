/* The ops in binary32 (spec §3.6), but for ATTENTION and SAMPLE. */
#include "dot.h"
#include "float_elementary.h"
#include "matrix.h"
#include "ops.h"
#include "request.h"

struct float_embed_operands {
    f32 *out;
    const f32 *matrix;  /* (tiles, columns, LANES), as in MATMUL */
    uint64_t columns;
};

void float_embed(const void *operands, uint64_t position)
{
    const struct float_embed_operands *o = operands;
    uint64_t token = token_at(position);
    const f32 *row = o->matrix + token / LANES * LANES * o->columns + token % LANES;

    for (uint64_t c = 0; c < o->columns; c++)
        o->out[c] = row[c * LANES];
}

struct float_norm_operands {
    f32 *out;
    const f32 *x, *weights;
    uint64_t length;
    uint64_t eps;
};

void float_norm(const void *operands, uint64_t position)
{
    const struct float_norm_operands *o = operands;
    f32 squares = f32_dot(multiplier(o->x, o->length), o->x, 1);
    f32 mean = f32_div(squares, f32_from_i64(o->length));
    f32 r = f32_div(F32_ONE, f32_sqrt(f32_add(mean, o->eps)));

    for (uint64_t i = 0; i < o->length; i++)
        o->out[i] = f32_mul(o->weights[i], f32_mul(r, o->x[i]));
}

struct float_matmul_operands {
    f32 *out;
    const f32 *in, *matrix;
    uint64_t rows, columns;
};

void float_matmul(const void *operands, uint64_t position)
{
    const struct float_matmul_operands *o = operands;
    struct multiplier x = multiplier(o->in, o->columns);

    for (uint64_t row = 0; row < o->rows; row++)
        o->out[row] = f32_dot(x, o->matrix + row / LANES * LANES * o->columns + row % LANES, LANES);
}

struct float_rope_operands {
    f32 *vector;  /* (heads, head_size / 2, 2) */
    uint64_t heads, head_size;
    const f32 *table;  /* (context, head_size / 2, 2): cos, sin */
};

void float_rope(const void *operands, uint64_t position)
{
    const struct float_rope_operands *o = operands;
    const f32 *angles = o->table + position * o->head_size;
    f32 *pair = o->vector;

    for (uint64_t head = 0; head < o->heads; head++)
        for (uint64_t j = 0; j < o->head_size; j += 2, pair += 2) {
            f32 a = pair[0], b = pair[1], cos = angles[j], sin = angles[j + 1];
            pair[0] = f32_sub(f32_mul(a, cos), f32_mul(b, sin));
            pair[1] = f32_add(f32_mul(a, sin), f32_mul(b, cos));
        }
}

struct float_swiglu_operands {
    f32 *out;
    const f32 *gate, *up;
    uint64_t length;
};

void float_swiglu(const void *operands, uint64_t position)
{
    const struct float_swiglu_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        o->out[i] = f32_mul(f32_mul(o->gate[i], f32_sigmoid(o->gate[i])), o->up[i]);
}

struct float_add_operands {
    f32 *x;
    const f32 *y;
    uint64_t length;
};

void float_add(const void *operands, uint64_t position)
{
    const struct float_add_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        o->x[i] = f32_add(o->x[i], o->y[i]);
}

struct float_input_operands {
    f32 *out;
    uint64_t length;
};

/* The bytes of the request as fractions of 256. */
void float_input(const void *operands, uint64_t position)
{
    const struct float_input_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        o->out[i] = f32_mul(f32_from_i64(REQUEST->bytes[i]), f32_power_of_two(-8));
}

struct float_relu_operands {
    f32 *out;
    const f32 *x;
    uint64_t length;
};

void float_relu(const void *operands, uint64_t position)
{
    const struct float_relu_operands *o = operands;

    for (uint64_t i = 0; i < o->length; i++)
        o->out[i] = f32_less(0, o->x[i]) ? o->x[i] : 0;
}
