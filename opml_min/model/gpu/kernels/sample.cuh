// SAMPLE: the token that the logits name. Every block finds it, so all know whether the run ends; the first one writes it down.
//
// Source: spec §3.5.
#pragma once
#include "fixed.cuh"
#include "parallel.cuh"

const u64 LOG2_E_Q32 = 6196328018ull;

struct Draw {
  u32 temperature_q16;
  u64 seed;
  u32 position;
};

DEVICE u64 splitmix64(const Draw &draw) {
  u64 z = draw.seed + ((u64)draw.position + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Largest first, then lowest index, in the order of unsigned numbers.
DEVICE u64 rank(i32 logit, u32 index) { return (u64)((u32)logit ^ 0x80000000u) << 32 | (0xffffffffu - index); }

DEVICE u64 sampling_weight(i32 largest, i32 logit, u64 scale) {
  const u64 distance = (u64)round_shift_right((i64)((u64)((i64)largest - logit) * scale), 12), most = (u64)INT32_MOST;
  return (u64)exp2_q24(-(i64)(distance < most ? distance : most));
}

// logits, length
DEVICE u32 sample(const i64 *o, const Draw &draw, Shared &shared) {
  const i32 *logits = (const i32 *)o[0];
  const u32 length = (u32)o[1];
  u64 best = 0;
  for (u32 i = threadIdx.x; i < length; i += blockDim.x) best = Max()(best, rank(logits[i], i));
  best = over_block(best, Max(), shared);
  if (draw.temperature_q16 == 0) return 0xffffffffu - (u32)best;

  // Each thread sums a stretch of neighbours; the stretch in which the sum of all before exceeds u has the token.
  const i32 largest = (i32)((u32)(best >> 32) ^ 0x80000000u);
  const u64 scale = LOG2_E_Q32 / draw.temperature_q16;
  const u32 stretch = (length + blockDim.x - 1) / blockDim.x;
  const u32 first = min_of(threadIdx.x * stretch, length), end = min_of(first + stretch, length);
  u64 own = 0;
  for (u32 i = first; i < end; ++i) own += sampling_weight(largest, logits[i], scale);
  u64 until = own;
#pragma unroll
  for (u32 distance = 1; distance < LANES; distance *= 2) {
    const u64 before = __shfl_up_sync(ALL_LANES, until, distance);
    if (lane_of() >= distance) until += before;
  }
  if (lane_of() == LANES - 1) shared.partial[warp_of()] = until;
  __syncthreads();
  u64 sum = 0, earlier = 0;
  for (u32 warp = 0; warp < warps(); ++warp) {
    if (warp == warp_of()) earlier = sum;
    sum += shared.partial[warp];
  }
  __syncthreads();
  const u64 u = __umul64hi(splitmix64(draw), sum);
  u64 before = earlier + until - own, found = 0;
  if (before <= u && u < before + own)
    for (u32 i = first; i < end && found == 0; ++i) {
      before += sampling_weight(largest, logits[i], scale);
      if (before > u) found = (u64)i + 1;
    }
  return (u32)(over_block(found, Max(), shared) - 1);
}
