/* The ops of a training tape (spec §6.4 to §6.7): each takes its operands as they lie in the record, and the update, from 0. */
#ifndef OPS_H
#define OPS_H

#include <stdint.h>

typedef void op(const void *operands, uint64_t update);

op init, tokens, pictures, cast, export_matrix;
op embed, norm, matmul, rope, heads, attention, swiglu, add, relu;
op cross_entropy, round_gradient, sum, matmul_data, matmul_weights, target_data, target_weights, embed_weights;
op norm_backward, rope_backward, attention_backward, swiglu_backward, relu_backward;
op adam, sgd, muon;

#endif
