// ATTENTION in three phases, with a barrier of the grid between them; a block takes one head and CHUNK_POSITIONS positions at a time.
//
//   scores:  q · K[t] for each position t, and the largest score and the least exponent of V in the chunk
//   sums:    weights exp2(score − largest) of the chunk, and what they add to the sum of weights and to the sums over V
//   outputs: each head's sums over its sum of weights, all heads as one activation
//
// The sums of the second phase are added with atomics: integers, so their order is free.
//
// Source: spec §3.5.
#pragma once
#include "fixed.cuh"
#include "parallel.cuh"
#include "rows.cuh"

const i32 QUERY_BITS = 13;  // 8 products with a 16-bit key fit 32 bits: 8 · 8191 · 32768 < 2^31

struct Scratch {
  i32 *scores;           // (heads, context)
  i32 *largest_scores;   // (heads, chunks)
  i32 *least_exponents;  // (heads, chunks)
  i64 *sums;             // (heads, head_size)
  u64 *weights;          // (heads)
  i32 *exponents;        // (heads)
};

struct Attention {
  const i64 *o;  // out, q, keys, key_exps, values, value_exps, heads, kv_heads, head_size, context, scale_q30
  Scratch scratch;
  u32 positions;  // 0 … the current one

  DEVICE_METHOD u32 heads() const { return (u32)o[6]; }
  DEVICE_METHOD u32 head_size() const { return (u32)o[8]; }
  DEVICE_METHOD u32 chunks() const { return (positions + CHUNK_POSITIONS - 1) / CHUNK_POSITIONS; }
  DEVICE_METHOD u32 most_chunks() const { return ((u32)o[9] + CHUNK_POSITIONS - 1) / CHUNK_POSITIONS; }
  DEVICE_METHOD u64 cache_row(u32 head) const { return (u64)(head / (heads() / (u32)o[7])) * (u64)o[9]; }
};

// WIDE neighbouring numbers of 16 bits: 8 if rows begin at multiples of 16 bytes, else 2.
template <u32 WIDE>
struct Numbers {
  u32 words[WIDE / 2];

  DEVICE_METHOD void load(const i16 *from) {
    if (WIDE == 8) {
      const uint4 loaded = *(const uint4 *)from;
      words[0] = loaded.x;
      words[1 % (WIDE / 2)] = loaded.y;
      words[2 % (WIDE / 2)] = loaded.z;
      words[3 % (WIDE / 2)] = loaded.w;
    } else {
      words[0] = *(const u32 *)from;
    }
  }
  DEVICE_METHOD i32 operator[](u32 i) const { return i % 2 ? (i32)words[i / 2] >> 16 : (i32)(i16)words[i / 2]; }
};

// The score of each position of a chunk; `lanes` neighbouring lanes share a position.
template <u32 WIDE>
DEVICE void chunk_scores(const Attention &a, u32 head, u32 first, u32 end, i32 query_exponent, Shared &shared) {
  const u64 row = a.cache_row(head);
  u32 lanes = 1;
  while (lanes < LANES && lanes * WIDE < a.head_size()) lanes *= 2;
  const u32 at_once = blockDim.x / lanes;
  for (u32 t0 = first; t0 < end; t0 += at_once) {
    const u32 t = t0 + threadIdx.x / lanes;
    const bool is_there = t < end;
    u64 dot = 0;
    for (u32 i = threadIdx.x % lanes * WIDE; is_there && i < a.head_size(); i += lanes * WIDE) {
      Numbers<WIDE> key, query;
      key.load((const i16 *)a.o[2] + (row + t) * a.head_size() + i);
      query.load(shared.query + i);
      i32 products = 0;
#pragma unroll
      for (u32 k = 0; k < WIDE; ++k) products += key[k] * query[k];
      dot += (u64)(i64)products;
    }
    dot = over_warp(dot, Sum(), lanes / 2);
    if (is_there && threadIdx.x % lanes == 0) {
      const i64 shift = (i64)query_exponent + ((const i8 *)a.o[3])[row + t] + 14;
      a.scratch.scores[(u64)head * a.o[9] + t] = round_shift_sat32((i64)dot * a.o[10], shift);
    }
  }
}

// Normalises the head's query to QUERY_BITS into shared memory; returns its exponent.
DEVICE i32 load_query(const Attention &a, u32 head, Shared &shared) {
  const i32 *q = (const i32 *)a.o[1] + (u64)head * a.head_size();
  u64 largest = 0;
  for (u32 i = threadIdx.x; i < a.head_size(); i += blockDim.x) largest = Max()(largest, magnitude(q[i]));
  const i32 exponent = row_exponent(over_block(largest, Max(), shared), 14, QUERY_BITS);
  for (u32 i = threadIdx.x; i < a.head_size(); i += blockDim.x) shared.query[i] = (i16)normalised(q[i], 14 - exponent, QUERY_BITS);
  __syncthreads();
  return exponent;
}

// Largest and least numbers of 32 bits, by way of Max over unsigned ones in the same order.
DEVICE u64 ascending(i32 v) { return (u64)((i64)v - INT32_LEAST) + 1; }
DEVICE u64 descending(i32 v) { return (u64)((i64)INT32_MOST - v) + 1; }
DEVICE i32 from_ascending(u64 key) { return (i32)((i64)key - 1 + INT32_LEAST); }
DEVICE i32 from_descending(u64 key) { return (i32)(INT32_MOST - ((i64)key - 1)); }

DEVICE void attention_scores(const Attention &a, const Share &share, Shared &shared) {
  for (u32 unit = share.block; unit < a.heads() * a.chunks(); unit += share.blocks) {
    const u32 head = unit / a.chunks(), chunk = unit % a.chunks(), first = chunk * CHUNK_POSITIONS;
    const u32 end = min_of(first + CHUNK_POSITIONS, a.positions);
    const i32 query_exponent = load_query(a, head, shared);
    if (a.head_size() % 8 == 0)
      chunk_scores<8>(a, head, first, end, query_exponent, shared);
    else
      chunk_scores<2>(a, head, first, end, query_exponent, shared);
    __syncthreads();
    u64 largest = 0, least = 0;
    for (u32 t = first + threadIdx.x; t < end; t += blockDim.x) {
      largest = Max()(largest, ascending(a.scratch.scores[(u64)head * a.o[9] + t]));
      least = Max()(least, descending(((const i8 *)a.o[5])[a.cache_row(head) + t]));
    }
    largest = over_block(largest, Max(), shared);
    least = over_block(least, Max(), shared);
    if (threadIdx.x == 0) {
      a.scratch.largest_scores[head * a.most_chunks() + chunk] = from_ascending(largest);
      a.scratch.least_exponents[head * a.most_chunks() + chunk] = from_descending(least);
    }
    if (chunk == 0) {
      for (u32 i = threadIdx.x; i < a.head_size(); i += blockDim.x) a.scratch.sums[(u64)head * a.head_size() + i] = 0;
      if (threadIdx.x == 0) a.scratch.weights[head] = 0;
    }
  }
}

// Adds weight · V over a chunk to shared.sums.
template <u32 WIDE>
DEVICE void chunk_sums(const Attention &a, u32 head, u32 first, u32 end, Shared &shared) {
  const u64 row = a.cache_row(head);
  const u32 pieces = a.head_size() / WIDE;
  const u32 across = min_of(pieces, blockDim.x), at_once = blockDim.x / across;
  if (threadIdx.x / across >= at_once) return;
  for (u32 piece = threadIdx.x % across; piece < pieces; piece += across) {
    i64 sums[WIDE];
#pragma unroll
    for (u32 k = 0; k < WIDE; ++k) sums[k] = 0;
    for (u32 t = first + threadIdx.x / across; t < end; t += at_once) {
      Numbers<WIDE> value;
      value.load((const i16 *)a.o[4] + (row + t) * a.head_size() + piece * WIDE);
#pragma unroll
      for (u32 k = 0; k < WIDE; ++k) sums[k] += (i64)shared.weights[t - first] * value[k];
    }
#pragma unroll
    for (u32 k = 0; k < WIDE; ++k) atomicAdd((u64 *)&shared.sums[piece * WIDE + k], (u64)sums[k]);
  }
}

DEVICE void attention_sums(const Attention &a, const Share &share, Shared &shared) {
  for (u32 unit = share.block; unit < a.heads() * a.chunks(); unit += share.blocks) {
    const u32 head = unit / a.chunks(), chunk = unit % a.chunks(), first = chunk * CHUNK_POSITIONS;
    const u32 end = min_of(first + CHUNK_POSITIONS, a.positions);
    u64 largest = 0, least = 0;
    for (u32 other = threadIdx.x; other < a.chunks(); other += blockDim.x) {
      largest = Max()(largest, ascending(a.scratch.largest_scores[head * a.most_chunks() + other]));
      least = Max()(least, descending(a.scratch.least_exponents[head * a.most_chunks() + other]));
    }
    const i32 largest_score = from_ascending(over_block(largest, Max(), shared));
    const i32 exponent = from_descending(over_block(least, Max(), shared));
    u64 weights = 0;
    for (u32 t = first + threadIdx.x; t < end; t += blockDim.x) {
      const i32 weight = exp2_q24((i64)a.scratch.scores[(u64)head * a.o[9] + t] - largest_score);
      weights += weight;
      shared.weights[t - first] = (i32)round_shift_right(weight, (i64)((const i8 *)a.o[5])[a.cache_row(head) + t] - exponent);
    }
    for (u32 i = threadIdx.x; i < a.head_size(); i += blockDim.x) shared.sums[i] = 0;
    weights = over_block(weights, Sum(), shared);
    if (a.head_size() % 8 == 0)
      chunk_sums<8>(a, head, first, end, shared);
    else
      chunk_sums<2>(a, head, first, end, shared);
    __syncthreads();
    for (u32 i = threadIdx.x; i < a.head_size(); i += blockDim.x)
      atomicAdd((u64 *)&a.scratch.sums[(u64)head * a.head_size() + i], (u64)shared.sums[i]);
    if (threadIdx.x == 0) {
      atomicAdd(&a.scratch.weights[head], weights);
      if (chunk == 0) a.scratch.exponents[head] = exponent;
    }
  }
}

DEVICE i64 head_output(const Attention &a, const Head &head, u32 i) {
  return round_shift_right(a.scratch.sums[i], head.excess) * head.reciprocal;
}

DEVICE void attention_outputs(const Attention &a, const Share &share, Shared &shared) {
  const Activation out = {(u8 *)a.o[0]};
  const u32 length = a.heads() * a.head_size();
  for (u32 head = warp_of(); head < a.heads(); head += warps()) {
    u64 largest = 0;
    for (u32 i = lane_of(); i < a.head_size(); i += LANES) largest = Max()(largest, magnitude(a.scratch.sums[head * a.head_size() + i]));
    largest = over_warp(largest, Max());
    if (lane_of() == 0) {
      const u64 weights = a.scratch.weights[head];
      const i32 excess = excess_bits(largest);
      shared.heads[head] = {excess, reciprocal_floor(weights), a.scratch.exponents[head] + bits(weights) + 30 - excess};
    }
  }
  __syncthreads();
  u64 least = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x) {
    const Head &head = shared.heads[i / a.head_size()];
    const u64 size = magnitude(head_output(a, head, i));
    if (size != 0) least = Max()(least, descending(head.fraction_bits + ROW_BITS - bits(size)));
  }
  least = over_block(least, Max(), shared);
  const i32 exponent = least == 0 ? ZERO_EXPONENT : from_descending(least);
  out.put_exponent(exponent, share);
  for (u32 i = share.thread(); i < length; i += share.threads()) {
    const Head &head = shared.heads[i / a.head_size()];
    out.put(i, normalised(head_output(a, head, i), (i64)head.fraction_bits - exponent, ROW_BITS));
  }
}
