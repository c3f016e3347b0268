/* exp and sigmoid in binary32: fixed sequences of rounded operations (spec §1.4). */
#ifndef FLOAT_ELEMENTARY_H
#define FLOAT_ELEMENTARY_H

#include "binary32.h"

#define F32_ONE      0x3F800000u
#define F32_MINUS(a) ((a) ^ 0x80000000u)

/* 2^k for a normal result. */
static inline f32 f32_power_of_two(int32_t k) { return (uint32_t)(k + 127) << 23; }

f32 f32_exp(f32 x);
f32 f32_sigmoid(f32 x);

#endif
