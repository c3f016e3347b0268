/* The ops of the tape (spec §3.5 and §3.6): each takes its operands as they lie in the record, and the position. */
#ifndef OPS_H
#define OPS_H

#include <stdint.h>

void embed(const void *operands, uint64_t position);
void norm(const void *operands, uint64_t position);
void matmul(const void *operands, uint64_t position);
void rope(const void *operands, uint64_t position);
void cache(const void *operands, uint64_t position);
void attention(const void *operands, uint64_t position);
void swiglu(const void *operands, uint64_t position);
void add(const void *operands, uint64_t position);
void sample(const void *operands, uint64_t position);
void input(const void *operands, uint64_t position);
void relu(const void *operands, uint64_t position);

void float_embed(const void *operands, uint64_t position);
void float_norm(const void *operands, uint64_t position);
void float_matmul(const void *operands, uint64_t position);
void float_rope(const void *operands, uint64_t position);
void float_cache(const void *operands, uint64_t position);
void float_attention(const void *operands, uint64_t position);
void float_swiglu(const void *operands, uint64_t position);
void float_add(const void *operands, uint64_t position);
void float_sample(const void *operands, uint64_t position);
void float_input(const void *operands, uint64_t position);
void float_relu(const void *operands, uint64_t position);

#endif
