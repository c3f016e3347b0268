/* Nearly all steps of a float model are spent here. As long as all numbers are normal and well away from underflow and overflow, the
   sum is kept taken apart, as a signed integer times a power of two, and both roundings are one addition and one mask each. The
   first number that is not plain sends the whole sum to the general routines. */
#include "dot.h"

#include "work.h"

#define FRACTION_MASK 0x007FFFFFu
#define HIDDEN_BIT    0x00800000u

/* A factor is significand * 2^(field - 150), the sum is significand * 2^(exponent - 314): the difference of 14 lets a product begin at
   bit 60 or 61, and the sum at 61, so that below their 24 bits lie 37 or 38. */
enum { PRODUCT_LEADING = 61, ROUNDING_PLACE = PRODUCT_LEADING - 23, SCALE_UP = PRODUCT_LEADING - 47 };
/* From this many binary places below the sum on, a product is less than a quarter of the sum's last place, and changes nothing. */
enum { TOO_SMALL = 26 };
/* The exponents of sums to which all products that count are normal, and which themselves do not overflow when rounded. */
enum { LEAST_EXPONENT = 128 + TOO_SMALL - 1, LARGEST_EXPONENT = 379 };
enum { EXPONENT_OF_ZERO_SUM = -1000, EXPONENT_OF_ZERO_FACTOR = -3000 };  /* so that 0 is too small, and any other product is not */

struct factor {
    int64_t significand; /* signed, times 2^SCALE_UP */
    uint64_t long_from;  /* the least significand with which the product has 48 bits, not 47 */
    int64_t exponent;    /* the field */
};

static inline uint64_t exponent_field(f32 a) { return (uint64_t)a << 33 >> 56; }

struct multiplier multiplier(const f32 *values, uint64_t n)
{
    struct factor *factors = WORK_FACTORS;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t field = exponent_field(values[i]);
        int64_t significand = values[i] & FRACTION_MASK;
        if (field == 255 || (field == 0 && significand != 0))
            return (struct multiplier){values, n, 0};
        significand = field ? significand | HIDDEN_BIT : 0;
        factors[i].exponent = field ? (int64_t)field : EXPONENT_OF_ZERO_FACTOR;
        factors[i].long_from = field ? ((1ull << 47) - 1) / significand + 1 : 0;
        factors[i].significand = ((int32_t)values[i] < 0 ? -significand : significand) << SCALE_UP;
    }
    return (struct multiplier){values, n, 1};
}

/* To the nearest multiple of 2^place, ties to even. */
static inline int64_t round_at(int64_t v, int place)
{
    int64_t up = v + (1ll << (place - 1)), rounded = up & -1ll << place;

    return __builtin_expect(rounded == up, 0) ? rounded & -2ll << place : rounded;
}

/* True if v, or -v - 1, begins at PRODUCT_LEADING. */
static inline int is_normalised(int64_t v) { return (v ^ v >> 63) >> PRODUCT_LEADING == 1; }

static inline int is_safe(int64_t exponent) { return exponent >= LEAST_EXPONENT && exponent <= LARGEST_EXPONENT; }

/* Writes the sum and returns 1, or returns 0 if some number is not plain. */
static int plain_dot(f32 *out, const f32 *y, uint64_t stride, uint64_t n)
{
    const struct factor *x = WORK_FACTORS, *end = x + n;
    int64_t sum = 0, exponent = EXPONENT_OF_ZERO_SUM;

    for (; x != end; x++, y += stride) {
        int32_t bits = *(const int32_t *)y;
        uint64_t field = exponent_field(bits);
        if (__builtin_expect(field - 1 >= 254, 0)) {
            if ((uint32_t)bits << 1)
                return 0;
            continue;
        }
        int64_t places = exponent - x->exponent - (int64_t)field;  /* that the product has to go down */
        if (__builtin_expect((uint64_t)places >= TOO_SMALL, 0)) {
            if (places > 0)
                continue;
            exponent -= places;
            if (!is_safe(exponent))
                return 0;
            sum = places > -64 ? sum >> -places : 0;
            places = 0;
        }
        uint64_t significand = (bits & FRACTION_MASK) | HIDDEN_BIT;
        int64_t product = x->significand * significand;
        if (significand >= x->long_from)
            product = round_at(product, ROUNDING_PLACE);
        else
            product = round_at(product, ROUNDING_PLACE - 1);
        product >>= places;
        if (bits < 0)
            sum -= product;
        else
            sum += product;

        if (__builtin_expect(!is_normalised(sum), 0)) {
            if (sum == 0) {
                exponent = EXPONENT_OF_ZERO_SUM;
                continue;
            }
            if ((sum ^ sum >> 63) >> (PRODUCT_LEADING + 1)) {
                sum >>= 1;
                exponent++;
            } else
                do {
                    sum <<= 1;
                    exponent--;
                } while (!is_normalised(sum));
            if (!is_safe(exponent))
                return 0;
        }
        sum = round_at(sum, ROUNDING_PLACE);
    }

    uint64_t size = sum < 0 ? -(uint64_t)sum : (uint64_t)sum;
    uint32_t field = exponent - 127;  /* less 1, which the hidden bit adds */
    *out = sum ? (sum < 0 ? 0x80000000u : 0) | ((field << 23) + (uint32_t)(size >> ROUNDING_PLACE)) : 0;
    return 1;
}

f32 f32_dot(struct multiplier x, const f32 *y, uint64_t stride)
{
    f32 sum = 0;

    if (x.is_plain && plain_dot(&sum, y, stride, x.n))
        return sum;
    sum = 0;
    for (uint64_t i = 0; i < x.n; i++)
        sum = f32_add(sum, f32_mul(x.values[i], y[i * stride]));
    return sum;
}
