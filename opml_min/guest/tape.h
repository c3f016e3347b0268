/* Where things are in memory, and how the header and the op records of an image look (spec §3.1 and §3.4). */
#ifndef TAPE_H
#define TAPE_H

#include <stdint.h>

struct header {
    uint64_t magic, version, flags, request_kind;
    uint64_t op_count, tape_address;
    uint64_t context;     /* text: the most positions; bytes: the exact length of the request */
    uint64_t vocabulary;
    uint64_t stop_token_count, stop_tokens[4];
};
enum { FLAG_SINGLE_PHASE = 1 };
enum { REQUEST_TEXT = 0, REQUEST_BYTES = 1 };
#define HEADER ((const struct header *)0x4010000000)

struct op_record {
    uint64_t opcode, condition;
    uint64_t operands[14];
};
enum { ALWAYS = 0, WHERE_A_TOKEN_IS_DRAWN = 1 };

enum opcode {
    EMBED = 1, NORM = 2, MATMUL = 3, ROPE = 4, CACHE = 5, ATTENTION = 6, SWIGLU = 7, ADD = 8, SAMPLE = 9, INPUT = 10, RELU = 11,
    FLOAT_EMBED = 33, FLOAT_NORM = 34, FLOAT_MATMUL = 35, FLOAT_ROPE = 36, FLOAT_CACHE = 37, FLOAT_ATTENTION = 38, FLOAT_SWIGLU = 39,
    FLOAT_ADD = 40, FLOAT_SAMPLE = 41, FLOAT_INPUT = 42, FLOAT_RELU = 43,
};

/* A block is 8 rows by 32 columns of a matrix. */
enum weight_format { Q8_0 = 0, Q4_0 = 1, Q4_1 = 2 };

#endif
