/* Where the header, the op records and the request of a training run lie (spec §6.1 and §6.2). */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdint.h>

struct header {
    uint64_t magic, version, op_count, tape_address;
    uint64_t request_bytes;  /* the exact length */
};
#define HEADER ((const struct header *)0x4010000000)

struct op_record {
    uint64_t opcode, condition;
    uint64_t operands[14];
};
enum { FIRST_UPDATE = 1, LAST_UPDATE = 2 };

enum opcode {
    INIT = 65, TOKENS = 66, PICTURES = 67, CAST = 68, EXPORT = 69,
    EMBED = 70, NORM = 71, MATMUL = 72, ROPE = 73, HEADS = 74, ATTENTION = 75, SWIGLU = 76, ADD = 77, RELU = 78,
    CROSS_ENTROPY = 79, ROUND = 80, SUM = 81, MATMUL_DATA = 82, MATMUL_WEIGHTS = 83, TARGET_DATA = 84, TARGET_WEIGHTS = 85,
    EMBED_WEIGHTS = 86, NORM_BACKWARD = 87, ROPE_BACKWARD = 88, ATTENTION_BACKWARD = 89, SWIGLU_BACKWARD = 90, RELU_BACKWARD = 91,
    ADAM = 92, SGD = 93, MUON = 94,
};

struct request {
    uint64_t stage_count, byte_length, unused[2];
    uint64_t seed;
    uint32_t updates, warmup;
    uint32_t rate_q34, last_rate_q34;
    uint32_t first_moment_q16, second_moment_q16;  /* 1 - beta */
    uint32_t momentum_q16, decay_q16;
    uint64_t zeros[3];
};
#define REQUEST ((const struct request *)0x8000000000)

#endif
