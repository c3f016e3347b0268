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
    uint64_t w = v + 1, t = 0;

    for (int up = 32; up >= 2; up /= 2) {  /* to 2^62 … 2^64, by an even number of bits */
        uint64_t by = (uint64_t)!(w >> (64 - up)) * up;
        w <<= by;
        t += by;
    }
    return saturated(rounded(m * (int64_t)fast_rsqrt(w), 45 - t / 2));
}

void adam(const void *operands, uint64_t update)
{
    const struct adam_operands *o = operands;
    int64_t rate = corrected_rate_q34(update, o->rate_q16), decay = decay_q32(rate_q34(update, o->rate_q16), o->decays);
    int64_t a1 = REQUEST->first_moment_q16, a2 = REQUEST->second_moment_q16, shift = 24 + 34 - o->frac;
    int32_t *w = o->master, *sums = o->sums, *first = o->m, *end = w + o->count;
    int64_t *second = o->v;

    for (; w != end; w++, sums++, first++, second++) {
        int64_t g = max(-LARGEST_GRADIENT, min(LARGEST_GRADIENT, *sums)), m = *first, v = *second;
        m += rounded((128 * g - m) * a1, 16);
        v += rounded((g * g - v) * a2, 16);
        *first = m;
        *second = v;
        *w = moved(*w, adam_step(m, v), rate, shift, decay);
        *sums = 0;
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
