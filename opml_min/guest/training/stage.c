/* One call of the program: stage i computes op (i mod n) of the tape in update (i div n), and returns the exit code (spec §6.2). */
#include "layout.h"
#include "ops.h"

enum { OK = 0, BAD_REQUEST = 1, UNKNOWN_OPCODE = 2 };
enum { ONE_Q16 = 1 << 16 };

static int request_is_valid(void)
{
    const struct request *r = REQUEST;

    return r->byte_length == HEADER->request_bytes && r->stage_count == HEADER->op_count * r->updates
        && r->updates >= 1 && r->warmup <= r->updates && r->rate_q34 < 1u << 31 && r->last_rate_q34 <= r->rate_q34
        && 1 <= r->first_moment_q16 && r->first_moment_q16 <= ONE_Q16 && 1 <= r->second_moment_q16 && r->second_moment_q16 <= ONE_Q16
        && r->momentum_q16 <= ONE_Q16 && r->decay_q16 <= ONE_Q16 && !(r->zeros[0] | r->zeros[1] | r->zeros[2]);
}

static int compute(const struct op_record *record, uint64_t update)
{
    const void *operands = record->operands;

    switch (record->opcode) {
    case INIT:               init(operands, update); break;
    case TOKENS:             tokens(operands, update); break;
    case PICTURES:           pictures(operands, update); break;
    case CAST:               cast(operands, update); break;
    case EXPORT:             export_matrix(operands, update); break;
    case EMBED:              embed(operands, update); break;
    case NORM:               norm(operands, update); break;
    case MATMUL:             matmul(operands, update); break;
    case ROPE:               rope(operands, update); break;
    case HEADS:              heads(operands, update); break;
    case ATTENTION:          attention(operands, update); break;
    case SWIGLU:             swiglu(operands, update); break;
    case ADD:                add(operands, update); break;
    case RELU:               relu(operands, update); break;
    case CROSS_ENTROPY:      cross_entropy(operands, update); break;
    case ROUND:              round_gradient(operands, update); break;
    case SUM:                sum(operands, update); break;
    case MATMUL_DATA:        matmul_data(operands, update); break;
    case MATMUL_WEIGHTS:     matmul_weights(operands, update); break;
    case TARGET_DATA:        target_data(operands, update); break;
    case TARGET_WEIGHTS:     target_weights(operands, update); break;
    case EMBED_WEIGHTS:      embed_weights(operands, update); break;
    case NORM_BACKWARD:      norm_backward(operands, update); break;
    case ROPE_BACKWARD:      rope_backward(operands, update); break;
    case ATTENTION_BACKWARD: attention_backward(operands, update); break;
    case SWIGLU_BACKWARD:    swiglu_backward(operands, update); break;
    case RELU_BACKWARD:      relu_backward(operands, update); break;
    case ADAM:               adam(operands, update); break;
    case SGD:                sgd(operands, update); break;
    case MUON:               muon(operands, update); break;
    default:                 return UNKNOWN_OPCODE;
    }
    return OK;
}

int stage(uint64_t index)
{
    if (index == 0 && !request_is_valid())
        return BAD_REQUEST;

    uint64_t n = HEADER->op_count, update = index / n;
    const struct op_record *record = (const struct op_record *)HEADER->tape_address + index % n;

    if (record->condition == FIRST_UPDATE && update != 0)
        return OK;
    if (record->condition == LAST_UPDATE && update + 1 != REQUEST->updates)
        return OK;
    return compute(record, update);
}
