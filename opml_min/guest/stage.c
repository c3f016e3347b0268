/* One call of the program: stage i computes op (i mod n) of the tape at position (i div n), and returns the exit code
   (spec §3.3). */
#include "ops.h"
#include "request.h"
#include "tape.h"

enum { OK = 0, BAD_REQUEST = 1, UNKNOWN_OPCODE = 2 };

static int compute(const struct op_record *op, uint64_t position)
{
    if (op->condition == WHERE_A_TOKEN_IS_DRAWN && !draws_token(position))
        return OK;
    switch (op->opcode) {
    case EMBED:     embed(op->operands, position); break;
    case NORM:      norm(op->operands, position); break;
    case MATMUL:    matmul(op->operands, position); break;
    case ROPE:      rope(op->operands, position); break;
    case CACHE:     cache(op->operands, position); break;
    case ATTENTION: attention(op->operands, position); break;
    case SWIGLU:    swiglu(op->operands, position); break;
    case ADD:       add(op->operands, position); break;
    case SAMPLE:    sample(op->operands, position); break;
    case INPUT:     input(op->operands, position); break;
    case RELU:      relu(op->operands, position); break;
    case FLOAT_EMBED:     float_embed(op->operands, position); break;
    case FLOAT_NORM:      float_norm(op->operands, position); break;
    case FLOAT_MATMUL:    float_matmul(op->operands, position); break;
    case FLOAT_ROPE:      float_rope(op->operands, position); break;
    case FLOAT_CACHE:     float_cache(op->operands, position); break;
    case FLOAT_ATTENTION: float_attention(op->operands, position); break;
    case FLOAT_SWIGLU:    float_swiglu(op->operands, position); break;
    case FLOAT_ADD:       float_add(op->operands, position); break;
    case FLOAT_SAMPLE:    float_sample(op->operands, position); break;
    case FLOAT_INPUT:     float_input(op->operands, position); break;
    case FLOAT_RELU:      float_relu(op->operands, position); break;
    default:        return UNKNOWN_OPCODE;
    }
    return OK;
}

int stage(uint64_t index)
{
    const struct op_record *tape = (const struct op_record *)HEADER->tape_address;
    uint64_t n = HEADER->op_count, positions = position_count();

    if (index == 0 && !request_is_valid())
        return BAD_REQUEST;
    if (!(HEADER->flags & FLAG_SINGLE_PHASE)) {
        uint64_t position = index / n;
        return OUTPUT->done || position >= positions ? OK : compute(&tape[index % n], position);
    }
    for (uint64_t position = 0; position < positions; position++)
        for (uint64_t k = 0; k < n; k++) {
            if (OUTPUT->done)
                return OK;
            int code = compute(&tape[k], position);
            if (code != OK)
                return code;
        }
    return OK;
}
