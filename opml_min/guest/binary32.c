/* A finite number is taken apart into sign, exponent and significand, computed on with bits to spare, and put together by
   round_pack, the only place that rounds. Bits that fall off on the way are kept as one sticky bit: it is enough to know
   whether the rest is 0. */
#include "binary32.h"

#define SIGN          0x80000000u
#define HIDDEN_BIT    0x00800000u
#define FRACTION_MASK 0x007FFFFFu

enum { BIAS = 127, INFINITE = 255 };    /* exponent fields */
enum { LEADING = 62, SPARE_BITS = 39 }; /* where round_pack wants the leading bit; what lies below the 24 that remain */

struct number {
    int32_t exponent;     /* biased; value = significand * 2^(exponent - BIAS - 23) */
    uint64_t significand; /* 24 bits, the leading one at 23 */
};

static inline uint32_t sign_of(f32 a) { return a & SIGN; }
static inline uint32_t size_of(f32 a) { return a & ~SIGN; }  /* orders as the absolute value does */
static inline int is_nan(f32 a) { return size_of(a) > F32_INFINITY; }
static inline int is_infinite(f32 a) { return size_of(a) == F32_INFINITY; }
static inline int is_zero(f32 a) { return size_of(a) == 0; }
static inline int is_finite(f32 a) { return size_of(a) < F32_INFINITY; }

/* Takes apart a finite number other than 0; the leading bit of a subnormal is shifted into its place. */
static inline struct number unpack(f32 a)
{
    int32_t field = size_of(a) >> 23;
    uint64_t fraction = a & FRACTION_MASK;

    if (field)
        return (struct number){field, fraction | HIDDEN_BIT};
    int shift = __builtin_clzll(fraction) - 40;
    return (struct number){1 - shift, fraction << shift};
}

static inline uint64_t shift_right_sticky(uint64_t v, int32_t shift)
{
    if (shift >= 64)
        return v != 0;
    return shift ? v >> shift | (v << (64 - shift) != 0) : v;
}

/* Rounds significand * 2^(exponent - BIAS - LEADING), whose leading bit is at LEADING, or is below it at exponent 1. */
static inline f32 round_pack(uint32_t sign, int32_t exponent, uint64_t significand)
{
    if (exponent < 1) {  /* subnormal: no hidden bit, the place of the last bit is fixed */
        significand = shift_right_sticky(significand, 1 - exponent);
        exponent = 1;
    }
    uint64_t half = 1ull << (SPARE_BITS - 1), last_bit = significand >> SPARE_BITS & 1;
    uint64_t rounded = (significand + half - 1 + last_bit) >> SPARE_BITS;

    /* The hidden bit adds 1 to the exponent field, and so does a carry out of the fraction. */
    uint64_t bits = ((uint64_t)(exponent - 1) << 23) + rounded;
    return sign | (bits < F32_INFINITY ? (f32)bits : F32_INFINITY);
}

/* For a significand that is not 0 and whose leading bit is at 62 or below. */
static inline f32 normalise_round_pack(uint32_t sign, int32_t exponent, uint64_t significand)
{
    while (!(significand >> LEADING)) {  /* mostly once or not at all; RV64IM has no instruction that counts zeros */
        significand <<= 1;
        exponent--;
    }
    return round_pack(sign, exponent, significand);
}

f32 f32_add(f32 a, f32 b)
{
    if (size_of(a) < size_of(b)) {
        f32 smaller = a;
        a = b;
        b = smaller;
    }
    if (!is_finite(a))
        return is_nan(a) || (is_infinite(b) && a != b) ? F32_NAN : a;

    /* The leading bit of the larger one is at 61, so that a sum has it at 62. Subnormals need no shift: their exponent is 1. */
    int32_t field_a = size_of(a) >> 23, field_b = size_of(b) >> 23;
    int32_t exponent_a = field_a + !field_a, exponent_b = field_b + !field_b;
    uint64_t larger = (uint64_t)((a & FRACTION_MASK) | (field_a ? HIDDEN_BIT : 0)) << (LEADING - 24);
    uint64_t smaller = (uint64_t)((b & FRACTION_MASK) | (field_b ? HIDDEN_BIT : 0)) << (LEADING - 24);

    smaller = shift_right_sticky(smaller, exponent_a - exponent_b);
    uint64_t sum = sign_of(a) == sign_of(b) ? larger + smaller : larger - smaller;
    if (sum == 0)
        return a & b & SIGN;
    return normalise_round_pack(sign_of(a), exponent_a + 1, sum);
}

f32 f32_sub(f32 a, f32 b) { return f32_add(a, b ^ SIGN); }

f32 f32_mul(f32 a, f32 b)
{
    uint32_t sign = (a ^ b) & SIGN;

    if (!is_finite(a) || !is_finite(b))
        return is_nan(a) || is_nan(b) || is_zero(a) || is_zero(b) ? F32_NAN : sign | F32_INFINITY;
    if (is_zero(a) || is_zero(b))
        return sign;
    struct number x = unpack(a), y = unpack(b);
    uint64_t product = x.significand * y.significand << (LEADING - 47);  /* leading bit at 61 or 62 */
    int32_t below = !(product >> LEADING);
    return round_pack(sign, x.exponent + y.exponent - BIAS + 1 - below, product << below);
}

f32 f32_div(f32 a, f32 b)
{
    uint32_t sign = (a ^ b) & SIGN;

    if (is_nan(a) || is_nan(b) || (is_infinite(a) && is_infinite(b)) || (is_zero(a) && is_zero(b)))
        return F32_NAN;
    if (is_infinite(a) || is_zero(b))
        return sign | F32_INFINITY;
    if (is_zero(a) || is_infinite(b))
        return sign;
    struct number x = unpack(a), y = unpack(b);
    uint64_t dividend = x.significand << 39, quotient = dividend / y.significand;  /* leading bit at 38 or 39 */
    uint64_t sticky = quotient * y.significand != dividend;
    return normalise_round_pack(sign, x.exponent - y.exponent + BIAS, (quotient << (LEADING - 39)) | sticky);
}

typedef unsigned __int128 u128;

static inline u128 shift_right_sticky_128(u128 v, int32_t shift)
{
    if (shift >= 128)
        return v != 0;
    return shift ? v >> shift | (v << (128 - shift) != 0) : v;
}

/* The exact product has 48 bits. Both terms are laid out in 128 bits with the leading one at 124 or 125, the one with the
   smaller exponent is shifted to the place of the other, and their sum comes down to 64 bits. */
f32 f32_fma(f32 a, f32 b, f32 c)
{
    if (!is_finite(a) || !is_finite(b) || is_zero(a) || is_zero(b))
        return f32_add(f32_mul(a, b), c);  /* the product is exact */
    if (!is_finite(c))
        return is_nan(c) ? F32_NAN : c;
    struct number x = unpack(a), y = unpack(b), z = is_zero(c) ? (struct number){1, 0} : unpack(c);
    u128 product = (u128)(x.significand * y.significand) << (125 - 47), addend = (u128)z.significand << (125 - 23);
    uint32_t sign_of_product = (a ^ b) & SIGN, sign = sign_of_product;
    int32_t exponent = x.exponent + y.exponent - BIAS + 1, apart = exponent - z.exponent;

    if (apart < 0) {
        product = shift_right_sticky_128(product, -apart);
        exponent = z.exponent;
    } else
        addend = shift_right_sticky_128(addend, apart);

    u128 sum = product + addend;
    if (sign_of_product != sign_of(c)) {
        sum = product > addend ? product - addend : addend - product;
        sign = product > addend ? sign_of_product : sign_of(c);
    }
    if (sum == 0)
        return 0;
    for (exponent += 1; !(sum >> 95); exponent -= 32)  /* much was cancelled */
        sum <<= 32;
    return normalise_round_pack(sign, exponent, (uint64_t)(sum >> 64) | ((uint64_t)sum != 0));
}

/* Bit by bit: the largest root with root^2 <= radicand; what is left over is sticky. */
f32 f32_sqrt(f32 a)
{
    if (is_zero(a))
        return a;
    if (is_nan(a) || sign_of(a))
        return F32_NAN;
    if (is_infinite(a))
        return a;
    struct number x = unpack(a);
    int32_t odd = (x.exponent - BIAS) & 1;
    uint64_t radicand = x.significand << (LEADING - 23 + odd), root = 0;  /* leading bit at 62 or 63 */

    for (uint64_t bit = 1ull << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= radicand)
            root |= bit;
    return round_pack(0, BIAS + (x.exponent - BIAS - odd) / 2, root << (LEADING - 31) | (root * root != radicand));
}

int f32_equal(f32 a, f32 b) { return !is_nan(a) && !is_nan(b) && (a == b || (is_zero(a) && is_zero(b))); }

int f32_less(f32 a, f32 b)
{
    if (is_nan(a) || is_nan(b) || (is_zero(a) && is_zero(b)))
        return 0;
    if (sign_of(a) != sign_of(b))
        return sign_of(a) != 0;
    return sign_of(a) ? a > b : a < b;
}

int f32_less_or_equal(f32 a, f32 b) { return f32_less(a, b) || f32_equal(a, b); }

f32 f32_from_i64(int64_t v)
{
    uint64_t size = v < 0 ? -(uint64_t)v : (uint64_t)v;

    if (size == 0)
        return 0;
    if (size >> 63)
        return SIGN | (BIAS + 63) << 23;
    return normalise_round_pack(v < 0 ? SIGN : 0, BIAS + LEADING, size);
}

int64_t f32_to_i64(f32 a)
{
    if (is_nan(a) || is_zero(a))
        return 0;
    struct number x = unpack(a);
    int32_t shift = BIAS + 23 - x.exponent;  /* value = significand * 2^-shift */
    uint64_t size;

    if (shift <= -40)
        return sign_of(a) ? INT64_MIN : INT64_MAX;
    if (shift <= 0)
        size = x.significand << -shift;
    else {
        uint64_t quarters = shift_right_sticky(x.significand << 2, shift);
        size = (quarters + 1 + (quarters >> 2 & 1)) >> 2;
    }
    return sign_of(a) ? -(int64_t)size : (int64_t)size;
}
