/* What a request says of an update: rates and random numbers (spec §6.2). */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stdint.h>

uint64_t random_bits(uint64_t stream, uint64_t index);

int64_t rate_q34(uint64_t update, uint64_t factor_q16);
int64_t corrected_rate_q34(uint64_t update, uint64_t factor_q16);  /* ADAM's: as if its moments had not begun at 0 */
int64_t decay_q32(int64_t rate_q34, uint64_t decays);

uint64_t isqrt(uint64_t v);

#endif
