// Ops on whole rows: NORM, SWIGLU, RELU, INPUT end in an activation, ROPE and ADD change a vector in place, CACHE stores one per head.
//
// An activation needs one exponent for its whole row. Every block computes it from the whole row by itself, and then writes its own part.
// That takes no longer than if one block did it, and needs no barrier inside the op.
//
// Source: spec §3.5.
#pragma once
#include "fixed.cuh"
#include "parallel.cuh"

const u32 NUMBERS_OFFSET = 32;  // of an activation, behind its exponent

struct Activation {
  u8 *at;

  DEVICE_METHOD void put_exponent(i32 exponent, const Share &share) const {
    if (share.thread() == 0) *(i32 *)at = exponent;
  }
  DEVICE_METHOD void put(u32 index, i32 number) const { ((i16 *)(at + NUMBERS_OFFSET))[index] = (i16)number; }
};

// out, x, weights, length, r, eps_q48
DEVICE void norm(const i64 *o, const Share &share, Shared &shared) {
  const Activation out = {(u8 *)o[0]};
  const i32 *x = (const i32 *)o[1], *weights = (const i32 *)o[2];
  const u32 length = (u32)o[3];
  u64 largest = 0, largest_product = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x) {
    largest = Max()(largest, magnitude(x[i]));
    largest_product = Max()(largest_product, magnitude((i64)x[i] * weights[i]));
  }
  largest = over_block(largest, Max(), shared);
  largest_product = over_block(largest_product, Max(), shared);
  const i32 dropped = bits(largest) - 24, excess = excess_bits(largest_product);
  u64 squares = 0, largest_short = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x) {
    i64 shortened = round_shift(x[i], dropped);
    squares += (u64)(shortened * shortened);
    largest_short = Max()(largest_short, magnitude(round_shift_right((i64)x[i] * weights[i], excess)));
  }
  squares = over_block(squares, Sum(), shared);
  largest_short = over_block(largest_short, Max(), shared);
  u32 root = 0;
  i32 exponent = ZERO_EXPONENT;
  i64 shift = 0;
  const i64 r = o[4], fraction_bits = r - dropped;
  const u64 mean = largest == 0 ? 0 : squares / length + (u64)round_shift(o[5], 48 - 2 * fraction_bits);
  if (mean != 0) {  // 0 only for a row of zeros
    const i32 t = __clzll((i64)mean) & ~1;
    root = rsqrt_floor(mean << t);
    const i64 z_bits = r + 24 - excess + 62 - fraction_bits - t / 2;
    exponent = row_exponent(largest_short * root, z_bits, ROW_BITS);
    shift = z_bits - exponent;
  }
  out.put_exponent(exponent, share);
  for (u32 i = share.thread(); i < length; i += share.threads())
    out.put(i, normalised(round_shift_right((i64)x[i] * weights[i], excess) * root, shift, ROW_BITS));
}

// out, gate, up, length
DEVICE void swiglu(const i64 *o, const i32 *sigmoids, const Share &share, Shared &shared) {
  const Activation out = {(u8 *)o[0]};
  const i32 *gate = (const i32 *)o[1], *up = (const i32 *)o[2];
  const u32 length = (u32)o[3];
  u64 largest = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x)
    largest = Max()(largest, magnitude((i64)gate[i] * sigmoid_q30(gate[i], sigmoids)));
  const i32 excess = excess_bits(over_block(largest, Max(), shared));
  largest = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x)
    largest = Max()(largest, magnitude(round_shift_right((i64)gate[i] * sigmoid_q30(gate[i], sigmoids), excess) * up[i]));
  const i64 fraction_bits = 58 - excess;
  const i32 exponent = row_exponent(over_block(largest, Max(), shared), fraction_bits, ROW_BITS);
  out.put_exponent(exponent, share);
  for (u32 i = share.thread(); i < length; i += share.threads()) {
    i64 product = round_shift_right((i64)gate[i] * sigmoid_q30(gate[i], sigmoids), excess) * up[i];
    out.put(i, normalised(product, fraction_bits - exponent, ROW_BITS));
  }
}

// out, x, length, frac
DEVICE void relu(const i64 *o, const Share &share, Shared &shared) {
  const Activation out = {(u8 *)o[0]};
  const i32 *x = (const i32 *)o[1];
  const u32 length = (u32)o[2];
  u64 largest = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x)
    if (x[i] > 0) largest = Max()(largest, (u64)x[i]);
  const i32 exponent = row_exponent(over_block(largest, Max(), shared), o[3], ROW_BITS);
  out.put_exponent(exponent, share);
  for (u32 i = share.thread(); i < length; i += share.threads())
    out.put(i, x[i] > 0 ? normalised(x[i], o[3] - exponent, ROW_BITS) : 0);
}

// out, length
DEVICE void input(const i64 *o, const u8 *request, const Share &share) {
  const Activation out = {(u8 *)o[0]};
  out.put_exponent(8, share);
  for (u32 i = share.thread(); i < (u32)o[1]; i += share.threads()) out.put(i, request[i]);
}

// vector, heads, head_size, table
DEVICE void rope(const i64 *o, u32 position, const Share &share) {
  i32 *vector = (i32 *)o[0];
  const u32 half = (u32)o[2] / 2, pairs = (u32)o[1] * half;
  const i32 *angles = (const i32 *)o[3] + (u64)position * 2 * half;
  for (u32 pair = share.thread(); pair < pairs; pair += share.threads()) {
    i64 a = vector[2 * pair], b = vector[2 * pair + 1], cosine = angles[pair % half * 2], sine = angles[pair % half * 2 + 1];
    vector[2 * pair] = round_shift_sat32(a * cosine - b * sine, 30);
    vector[2 * pair + 1] = round_shift_sat32(a * sine + b * cosine, 30);
  }
}

// x, y, length
DEVICE void add(const i64 *o, const Share &share) {
  i32 *x = (i32 *)o[0];
  const i32 *y = (const i32 *)o[1];
  for (u32 i = share.thread(); i < (u32)o[2]; i += share.threads()) x[i] = sat32((i64)x[i] + y[i]);
}

// k, v, keys, key_exps, values, value_exps, kv_heads, head_size, context: a warp for each head of k and of v.
DEVICE void store_kv(const i64 *o, u32 position, const Share &share) {
  const u32 kv_heads = (u32)o[6], head_size = (u32)o[7];
  for (u32 unit = share.thread() / LANES; unit < 2 * kv_heads; unit += share.threads() / LANES) {
    const bool is_key = unit < kv_heads;
    const u32 head = is_key ? unit : unit - kv_heads;
    const i32 *x = (const i32 *)(is_key ? o[0] : o[1]) + (u64)head * head_size;
    const u64 place = (u64)head * (u64)o[8] + position;
    i16 *row = (i16 *)(is_key ? o[2] : o[4]) + place * head_size;
    i8 *exponents = (i8 *)(is_key ? o[3] : o[5]);
    u64 largest = 0;
    for (u32 i = lane_of(); i < head_size; i += LANES) largest = Max()(largest, magnitude(x[i]));
    const i32 exponent = row_exponent(over_warp(largest, Max()), 14, ROW_BITS);
    if (lane_of() == 0) exponents[place] = (i8)exponent;
    for (u32 i = lane_of(); i < head_size; i += LANES) row[i] = (i16)normalised(x[i], 14 - exponent, ROW_BITS);
  }
}
