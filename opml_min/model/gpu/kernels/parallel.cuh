// Threads that work together: reductions in a warp and in a block, and the barrier of the whole grid.
//
// Sums and maxima of integers do not depend on their order, so neither the number of threads nor their schedule changes a bit.
#pragma once
#include "words.cuh"

const u32 MOST_WARPS = 8;          // of a block
const u32 CHUNK_POSITIONS = 64;    // of the KV cache, for one block at a time
const u32 MOST_HEAD_SIZE = 1024;
const u32 MOST_HEADS = 256;
const u32 TOGETHER = 4;            // positions that share one reading of a tile of weights; each gets 8 lanes for its 8 sums

struct Head {  // what the end of ATTENTION needs to know of one head
  i32 excess;
  u32 reciprocal;
  i32 fraction_bits;
};

struct alignas(16) Shared {  // one for each block
  u64 partial[MOST_WARPS];
  i64 rows[MOST_WARPS][TOGETHER][8];
  i16 query[MOST_HEAD_SIZE];
  i64 sums[MOST_HEAD_SIZE];
  i32 weights[CHUNK_POSITIONS];
  Head heads[MOST_HEADS];
};

DEVICE u32 lane_of() { return threadIdx.x % LANES; }
DEVICE u32 warp_of() { return threadIdx.x / LANES; }
DEVICE u32 warps() { return blockDim.x / LANES; }

struct Share {  // the blocks that work on one position, and which of them this one is
  u32 block, blocks;

  DEVICE_METHOD u32 thread() const { return block * blockDim.x + threadIdx.x; }
  DEVICE_METHOD u32 threads() const { return blocks * blockDim.x; }
};

DEVICE Share whole_grid() { return {blockIdx.x, gridDim.x}; }

struct Max {
  DEVICE_METHOD u64 operator()(u64 a, u64 b) const { return a > b ? a : b; }
};
struct Sum {
  DEVICE_METHOD u64 operator()(u64 a, u64 b) const { return a + b; }
};

template <class Join>
DEVICE u64 over_warp(u64 value, Join join, u32 from = LANES / 2) {
  for (u32 distance = from; distance > 0; distance /= 2) value = join(value, __shfl_xor_sync(ALL_LANES, value, distance));
  return value;
}

// Every thread of the block gets the result.
template <class Join>
DEVICE_CALL u64 over_block(u64 value, Join join, Shared &shared) {
  value = over_warp(value, join);
  if (lane_of() == 0) shared.partial[warp_of()] = value;
  __syncthreads();
  value = shared.partial[0];
  for (u32 warp = 1; warp < warps(); ++warp) value = join(value, shared.partial[warp]);
  __syncthreads();
  return value;
}

// All blocks are on the card at once, so each may wait for the others. What any thread wrote before is visible to every thread afterwards.
struct GridBarrier {
  u64 *arrived;  // 0 when the kernel starts
  u64 goal;

  DEVICE_METHOD void wait() {
    goal += gridDim.x;
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(arrived, (u64)1);
      while (*(volatile u64 *)arrived < goal) SPIN();
      __threadfence();
    }
    __syncthreads();
  }
};
