/* IEEE 754 binary32 in integers: each operation rounds its exact result once, to nearest, ties to even. Subnormals are kept;
   every NaN result is the canonical one; there are no flags. */
#ifndef BINARY32_H
#define BINARY32_H

#include <stdint.h>

typedef uint32_t f32;  /* the bits */

#define F32_NAN      0x7FC00000u
#define F32_INFINITY 0x7F800000u

f32 f32_add(f32 a, f32 b);
f32 f32_sub(f32 a, f32 b);
f32 f32_mul(f32 a, f32 b);
f32 f32_div(f32 a, f32 b);
f32 f32_fma(f32 a, f32 b, f32 c);  /* a * b + c */
f32 f32_sqrt(f32 a);

/* False if one of them is a NaN; -0 equals +0. */
int f32_equal(f32 a, f32 b);
int f32_less(f32 a, f32 b);
int f32_less_or_equal(f32 a, f32 b);

f32 f32_from_i64(int64_t v);
int64_t f32_to_i64(f32 a);  /* nearest integer, ties to even; saturates; a NaN gives 0 */

#endif
