// Fixed point: the one rounding, saturation, and the elementary functions, all in 64-bit integers.
//
// Source: spec §1.1 and §1.2.
#pragma once
#include "words.cuh"

const i32 INT32_MOST = 2147483647;
const i32 INT32_LEAST = -2147483647 - 1;
const i32 ZERO_EXPONENT = 127;  // of a row of zeros
const i32 ROW_BITS = 15;        // of the magnitude of a normalised number

DEVICE u64 magnitude(i64 v) { return v < 0 ? 0 - (u64)v : (u64)v; }

DEVICE i32 bits(u64 magnitude) { return magnitude == 0 ? 0 : 64 - __clzll((i64)magnitude); }

DEVICE i64 shift_left(i64 v, i64 s) { return (i64)((u64)v << s); }

DEVICE i32 sat32(i64 v) { return v > INT32_MOST ? INT32_MOST : v < INT32_LEAST ? INT32_LEAST : (i32)v; }

// Rounds half up. (v + 2^(s-1)) >> s could overflow; the bit below the cut says the same.
DEVICE i64 round_shift_right(i64 v, i64 s) {
  if (s > 63) return 0;
  return s == 0 ? v : (v >> s) + ((v >> (s - 1)) & 1);
}

// The caller knows that a shift to the left fits.
DEVICE i64 round_shift(i64 v, i64 s) { return s >= 0 ? round_shift_right(v, s) : shift_left(v, -s); }

// Exact for every v and every s.
DEVICE i32 round_shift_sat32(i64 v, i64 s) {
  if (s >= 0) return sat32(round_shift_right(v, s));
  if (v == 0) return 0;
  if (s < -31 || sat32(v) != v) return v > 0 ? INT32_MOST : INT32_LEAST;
  return sat32(shift_left(v, -s));
}

// One number of a row whose exponent is `shift` below its own fraction bits: by that definition a shift to the left fits `width` bits.
DEVICE i32 normalised(i64 v, i64 shift, i32 width) {
  if (v == 0) return 0;
  i64 limit = ((i64)1 << width) - 1, rounded = round_shift(v, shift);
  return (i32)(rounded > limit ? limit : rounded < -limit ? -limit : rounded);
}

// The exponent of a row with common fraction bits, given the largest magnitude in it.
DEVICE i32 row_exponent(u64 largest, i64 fraction_bits, i32 width) {
  return largest == 0 ? ZERO_EXPONENT : (i32)(fraction_bits + width - bits(largest));
}

// How many low bits to round away, so that the largest magnitude keeps 31.
DEVICE i32 excess_bits(u64 largest) {
  i32 excess = bits(largest) - 31;
  return excess > 0 ? excess : 0;
}

// The integer half · 2^24 of a 16-bit float pattern below 128.
DEVICE i32 half_q24(u32 pattern) {
  i32 exponent = (pattern >> 10) & 31, fraction = pattern & 1023;
  i32 size = exponent == 0 ? fraction : (1024 + fraction) << (exponent - 1);
  return pattern & 0x8000 ? -size : size;
}

// z ≤ 0 in Q16, result Q24.
DEVICE_CALL i32 exp2_q24(i64 z) {
  const i64 coefficients[7] = {234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824};
  i64 whole = z >> 16, f = (z & 0xffff) << 14, p = 0;
#pragma unroll
  for (int k = 0; k < 7; ++k) p = round_shift_right(p * f, 30) + coefficients[k];
  return (i32)round_shift_right(p, 6 - whole);
}

// g in Q14, result Q30; `table` has 4,097 numbers.
DEVICE i32 sigmoid_q30(i32 g, const i32 *table) {
  const i32 one = 1 << 30;
  u32 a = (u32)magnitude(g);
  i32 s = one;
  if (a < 1u << 18) {
    i32 low = __ldg(table + (a >> 6)), high = __ldg(table + (a >> 6) + 1);
    s = low + (i32)round_shift_right((i64)(high - low) * (i32)(a & 63), 6);
  }
  return g >= 0 ? s : one - s;
}

// floor(2^62 / √v) for 2^62 ≤ v < 2^64: the largest y with y²·v ≤ 2^124.
DEVICE bool is_within_root(u64 y, u64 v) {
  u64 high = __umul64hi(y * y, v), low = y * y * v;
  return high < (u64)1 << 60 || (high == (u64)1 << 60 && low == 0);
}

DEVICE_CALL u32 rsqrt_floor(u64 v) {
  // Newton's steps for 1/√a with a = v / 2^64 from a line; y is in Q30. Whatever they leave, the two loops make it exact.
  u64 a = v >> 32, y = ((u64)5 << 29) - (a >> 2) - (a >> 3);
#pragma unroll
  for (int k = 0; k < 5; ++k) {
    u64 product = ((y * y) >> 30) * a >> 32;  // a·y² in Q30, at most about 2.25
    y = y * (((u64)3 << 30) - product) >> 31;
  }
  while (!is_within_root(y, v)) --y;
  while (is_within_root(y + 1, v)) ++y;
  return (u32)y;
}

// floor(2^(bits(v) + 30) / v) for 1 ≤ v < 2^62, by long division.
DEVICE_CALL u32 reciprocal_floor(u64 v) {
  u64 rest = (u64)1 << (bits(v) - 1);
  u32 quotient = 0;
  if (rest == v) return 1u << 31;
#pragma unroll 1
  for (int k = 0; k < 31; ++k) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= v) {
      rest -= v;
      quotient |= 1;
    }
  }
  return quotient;
}
