/* The request and the output, in the io quarter (spec §3.2). */
#ifndef REQUEST_H
#define REQUEST_H

#include "tape.h"

struct request {
    uint64_t stage_count, byte_length, unused[2];
    union {
        struct {
            uint32_t prompt_length, new_tokens, temperature_q16, zero;
            uint64_t seed;
            uint32_t prompt[];
        } text;
        uint8_t bytes[24];
    };
};
#define REQUEST ((const struct request *)0x8000000000)

struct output {
    uint64_t count, done, unused[2];
    uint32_t tokens[];
};
#define OUTPUT ((struct output *)0x8010000000)

/* A bytes request has one position, and draws its only output token there. */
static inline uint64_t prompt_length(void) { return HEADER->request_kind == REQUEST_TEXT ? REQUEST->text.prompt_length : 1; }
static inline uint64_t new_tokens(void) { return HEADER->request_kind == REQUEST_TEXT ? REQUEST->text.new_tokens : 1; }
static inline uint64_t position_count(void) { return prompt_length() + new_tokens() - 1; }
static inline int draws_token(uint64_t position) { return position + 1 >= prompt_length(); }

/* The token that is read at a position: from the prompt, then from the output so far. */
static inline uint32_t token_at(uint64_t position)
{
    uint64_t prompted = prompt_length();
    return position < prompted ? REQUEST->text.prompt[position] : OUTPUT->tokens[position - prompted];
}

int request_is_valid(void);

#endif
