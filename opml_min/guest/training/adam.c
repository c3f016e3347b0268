/* ADAM and SGD: each weight moves by its own gradient. */
#include "descent.h"
#include "fast_rsqrt.h"
#include "layout.h"
#include "ops.h"
#include "schedule.h"

enum { LARGEST_GRADIENT = 1 << 23 };

struct adam_operands {
    int32_t *master, *sums, *m;
    int64_t *v;
    uint64_t count;
    int64_t frac;
    uint64_t rate_q16, decays;
};

/* m / sqrt(v + 1), Q24. */
static inline int64_t adam_step(int64_t m, int64_t v)
{
    uint64_t w = v + 1;
    int64_t shift = 45;

    for (int t = 32; t >= 2; t /= 2)  /* to 2^62 ... 2^64, by an even number of bits */
        if (!(w >> (64 - t))) {
            w <<= t;
            shift -= t / 2;
        }
    return sat32((m * (int64_t)fast_rsqrt(w) + (1ll << (shift - 1))) >> shift);
}

void adam(const void *operands, uint64_t update)
{
    const struct adam_operands *o = operands;
    int64_t rate = corrected_rate_q34(update, o->rate_q16), decay = decay_q32(rate_q34(update, o->rate_q16), o->decays);
    int64_t a1 = REQUEST->first_moment_q16, a2 = REQUEST->second_moment_q16;

    for (uint64_t i = 0; i < o->count; i++) {
        int64_t g = max(-LARGEST_GRADIENT, min(LARGEST_GRADIENT, o->sums[i])), m = o->m[i], v = o->v[i];
        m += round_shift((128 * g - m) * a1, 16);
        v += round_shift((g * g - v) * a2, 16);
        o->m[i] = m;
        o->v[i] = v;
        o->master[i] = moved(o->master[i], adam_step(m, v), rate, 24 + 34 - o->frac, decay);
        o->sums[i] = 0;
    }
}

struct sgd_operands {
    int32_t *master, *sums;
    uint64_t count;
    int64_t frac, sum_frac;
    uint64_t rate_q16, decays;
};

void sgd(const void *operands, uint64_t update)
{
    const struct sgd_operands *o = operands;
    int64_t rate = rate_q34(update, o->rate_q16), decay = decay_q32(rate, o->decays);

    for (uint64_t i = 0; i < o->count; i++) {
        o->master[i] = moved(o->master[i], o->sums[i], rate, o->sum_frac + 34 - o->frac, decay);
        o->sums[i] = 0;
    }
}
