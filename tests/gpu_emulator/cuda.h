// CUDA's words for the emulator: qualifiers, indices, and the intrinsics that the kernels use.
#pragma once
#include <string.h>
#ifdef WATCHED
#include "memory_order.h"
#endif

#define EMULATED
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(threads)

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

struct Warp {
  unsigned long long values[2][32];
  unsigned arrived, generation;
};

struct Block {
  unsigned arrived, generation, threads;
  uint3 index, size, grid;
  char *shared;
};

enum Waiting { NOT, FOR_WARP, FOR_BLOCK, FOR_GRID, FINISHED };

struct Thread {
  void *stack_pointer;
  Block *block;
  Warp *warp;
  uint3 index;
  unsigned lane, generation;
  Waiting waiting;
};

extern Thread *current;
void give_way(Waiting why);
int site_of(const char *file, int line);
bool is_removed(int site);

#define threadIdx (current->index)
#define blockIdx (current->block->index)
#define blockDim (current->block->size)
#define gridDim (current->block->grid)

#define SITE ([] { static const int site = site_of(__FILE__, __LINE__); return site; }())
#define SHARED(type, name) type &name = *(type *)current->block->shared
#define CONSTANT static const
#define SPIN() give_way(FOR_GRID)
#define WAIT_FOR_GRID(barrier) (is_removed(SITE) ? (void)0 : barrier.wait())
#define __syncthreads() (is_removed(SITE) ? (void)0 : wait_for_block())

#define __syncwarp() (is_removed(SITE) ? (void)0 : (void)shuffle(0, 0))

template <class T>
T shuffle(T value, unsigned source);

inline void wait_for_block() {
  Block &block = *current->block;
  current->generation = block.generation;
  if (++block.arrived == block.threads) {
    block.arrived = 0;
    ++block.generation;
  } else {
    give_way(FOR_BLOCK);
  }
}

// All lanes give a value and get the one of `source`. Two buffers: nobody gives a third value before all have read the first.
template <class T>
T shuffle(T value, unsigned source) {
  Warp &warp = *current->warp;
  const unsigned generation = warp.generation;
  current->generation = generation;
  memcpy(&warp.values[generation % 2][current->lane], &value, sizeof(T));
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.generation;
  } else {
    give_way(FOR_WARP);
  }
  memcpy(&value, &warp.values[generation % 2][source], sizeof(T));
  return value;
}

template <class T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
  return shuffle(value, current->lane ^ mask);
}

template <class T>
T __shfl_sync(unsigned, T value, unsigned source) {
  return shuffle(value, source);
}

inline unsigned __ballot_sync(unsigned, bool vote) {
  const unsigned long long *votes = current->warp->values[current->warp->generation % 2];
  shuffle((unsigned long long)vote, 0);
  unsigned all = 0;
  for (int lane = 0; lane < 32; ++lane) all |= (unsigned)votes[lane] << lane;
  return all;
}

template <class T>
T __shfl_up_sync(unsigned, T value, unsigned distance) {
  return shuffle(value, current->lane >= distance ? current->lane - distance : current->lane);
}

#ifdef WATCHED
void fence(int site);
void atomic_access(const void *at, unsigned bytes);
#define __threadfence() fence(SITE)
#else
inline void __threadfence() {}
inline void atomic_access(const void *, unsigned) {}
#define UNSEEN
#endif

template <class T>
UNSEEN inline T atomicAdd(T *at, T value) {
  atomic_access(at, sizeof(T));
  const T before = *at;
  *at = before + value;
  return before;
}

template <class T>
T __ldg(const T *at) {
  return *at;
}

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }

inline int __clzll(long long v) { return v == 0 ? 64 : __builtin_clzll((unsigned long long)v); }

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}

// Two numbers of 16 bits times two bytes of four, added to c: the lower two bytes or the upper two.
inline int dp2a(int a, int b, int c) { return c + (short)a * (signed char)b + (a >> 16) * (signed char)(b >> 8); }
inline int dp2a_lo(int a, int b, int c) { return dp2a(a, b, c); }
inline int dp2a_hi(int a, int b, int c) { return dp2a(a, b >> 16, c); }
