// The machine's numbers, and the few words by which this code names what is on the card.
//
// All buffers are little-endian and aligned as spec §3.4 says, so a row of a tensor can be read in pieces of 16 bytes.
#pragma once
#ifndef EMULATED
#include "card.cuh"
#endif

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define DEVICE static __device__ __forceinline__
#define DEVICE_CALL static __device__ __noinline__  // what is used so often that copies of it would be most of the code
#define DEVICE_METHOD __device__ __forceinline__

const u32 ALL_LANES = 0xffffffffu;
const u32 LANES = 32;  // threads of a warp

DEVICE u32 min_of(u32 a, u32 b) { return a < b ? a : b; }
