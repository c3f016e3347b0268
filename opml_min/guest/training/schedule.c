/* Rates and random numbers of an update (spec §6.2). */
#include "schedule.h"

#include "../fixed.h"
#include "layout.h"

static uint64_t splitmix(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

uint64_t random_bits(uint64_t stream, uint64_t index) { return splitmix(splitmix(REQUEST->seed, stream), index); }

/* Bit by bit from the top. */
uint64_t isqrt(uint64_t v)
{
    uint64_t root = 0;

    for (uint64_t bit = 1ull << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= v)
            root |= bit;
    return root;
}

int64_t rate_q34(uint64_t update, uint64_t factor_q16)
{
    uint64_t highest = REQUEST->rate_q34, last = REQUEST->last_rate_q34, warmup = REQUEST->warmup, updates = REQUEST->updates;
    uint64_t rate = update < warmup ? highest * (update + 1) / warmup : last + (highest - last) * (updates - update) / (updates - warmup);

    return min(round_shift(rate * factor_q16, 16), INT32_HIGHEST);
}

/* (1 - a)^exponent, Q30. It falls to 0, and stays there. */
static uint64_t power_q30(uint64_t a_q16, uint64_t exponent)
{
    uint64_t p = 1 << 30;

    for (uint64_t i = 0; i < exponent && p; i++)
        p = p * ((1 << 16) - a_q16) >> 16;
    return p;
}

int64_t corrected_rate_q34(uint64_t update, uint64_t factor_q16)
{
    uint64_t one = 1 << 30, first = one - power_q30(REQUEST->first_moment_q16, update + 1);
    uint64_t second = one - power_q30(REQUEST->second_moment_q16, update + 1);
    uint64_t rate = rate_q34(update, factor_q16);

    return min(rate * isqrt(second << 30) / first, INT32_HIGHEST);
}

int64_t decay_q32(int64_t rate_q34, uint64_t decays) { return decays == 1 ? round_shift(rate_q34 * REQUEST->decay_q16, 18) : 0; }
