#include "float_elementary.h"

#define LARGEST_ARGUMENT 0x42B17218u  /* 88.72284: beyond it exp overflows */
#define LEAST_ARGUMENT   0xC2CFF1B5u  /* -103.97208: below it exp rounds to 0 */
#define LOG2_E           0x3FB8AA3Bu
#define LN_2_HIGH        0x3F318000u  /* ln 2 in two parts; the first has so few bits that n times it is exact */
#define LN_2_LOW         0xB95E8083u
#define ROUNDER          0x4B400000u  /* 1.5 * 2^23: added and subtracted, it leaves the nearest integer */

/* e^x = 2^n e^r with the integer n nearest to x log2(e), and e^r = 1 + r + r^2 p(r). */
f32 f32_exp(f32 x)
{
    static const f32 coefficients[] = {0x3AB6DA15, 0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000};

    if (f32_less(LARGEST_ARGUMENT, x))
        return F32_INFINITY;
    if (f32_less(x, LEAST_ARGUMENT))
        return 0;
    if (!f32_equal(x, x))
        return F32_NAN;

    f32 shifted = f32_add(f32_mul(x, LOG2_E), ROUNDER), n = f32_sub(shifted, ROUNDER);
    f32 r = f32_sub(f32_sub(x, f32_mul(n, LN_2_HIGH)), f32_mul(n, LN_2_LOW)), p = coefficients[0];
    for (int k = 1; k < 5; k++)
        p = f32_add(f32_mul(p, r), coefficients[k]);
    p = f32_add(f32_add(f32_mul(f32_mul(p, r), r), r), F32_ONE);

    /* 2^n itself may be no normal number: two halves are. */
    int32_t m = (int32_t)(shifted - ROUNDER), half = m >> 1;
    return f32_mul(f32_mul(p, f32_power_of_two(half)), f32_power_of_two(m - half));
}

f32 f32_sigmoid(f32 x) { return f32_div(F32_ONE, f32_add(F32_ONE, f32_exp(F32_MINUS(x)))); }
