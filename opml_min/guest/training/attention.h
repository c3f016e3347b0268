/* Attention of one head over a sequence (spec §6.5), as far as its forward and backward ops share it. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include <stdint.h>

int64_t root_q30(uint64_t head_size);        /* 1 / sqrt(head_size) */
int64_t scale_q24(int64_t root_q30);         /* times log2(e) */

/* Turns the products of a query with keys 0 … last into w = 2^(score - largest), Q24, in place. */
void weigh(int64_t *products, uint64_t last, int64_t scale_q24, int64_t shift);

#endif
