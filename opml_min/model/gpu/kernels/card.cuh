// The card's own words, which the emulator of the tests defines in another way.
#pragma once

#define SHARED(type, name) __shared__ type name
#define CONSTANT static __constant__ const
#define SPIN()
#define WAIT_FOR_GRID(barrier) barrier.wait()

// Two numbers of 16 bits times two bytes of four, added to c: the lower two bytes or the upper two. Nothing saturates.
static __device__ __forceinline__ int dp2a_lo(int a, int b, int c) {
  int sum;
  asm("dp2a.lo.s32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
}
static __device__ __forceinline__ int dp2a_hi(int a, int b, int c) {
  int sum;
  asm("dp2a.hi.s32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
}
