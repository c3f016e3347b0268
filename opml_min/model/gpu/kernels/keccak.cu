// Merkle roots of pages of 1 KiB, from the bytes that lie on the card: Keccak-256 of the 32-byte leaves two by two, then of the hashes two by
// two, up to one hash per page.
//
// Every message has 64 bytes, so a hash is one permutation, and a thread computes it. At the lowest level 16 threads share a page, and a
// block has a hash for each of its threads. At every further level it has half as many, in whole warps down to the last one or two levels.
// So nearly all lanes have work, though the tree above a page is narrow.
//
// Source: The Keccak reference, version 3.0, sections 1.2 and 2.3; padding byte 0x01; spec §2.2 for the tree.
#include "words.cuh"

const u32 MOST_THREADS = 256;
const u32 PAIRS = 16;  // of leaves in a page
const u32 MESSAGE_WORDS = 8, HASH_WORDS = 4, STATE_WORDS = 25;
const u32 FIRST_PADDED_WORD = 8, LAST_PADDED_WORD = 16;  // of the rate's 17
const u32 ROUNDS = 24;

CONSTANT u64 ROUND_CONSTANTS[ROUNDS] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
    0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
    0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

struct alignas(16) Hashes {  // one for each block
  u64 words[MOST_THREADS][HASH_WORDS];
};

DEVICE u64 rotated(u64 word, u32 amount) { return word << amount | word >> (64 - amount); }

// One round; word x + 5y of the state is lane (x, y) of the reference.
DEVICE void keccak_round(u64 a[STATE_WORDS], u64 constant) {
  const u32 amounts[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};
  const u32 way[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};  // of lane (1, 0) under pi
  u64 columns[5];
#pragma unroll
  for (u32 x = 0; x < 5; ++x) columns[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
#pragma unroll
  for (u32 i = 0; i < STATE_WORDS; ++i) a[i] ^= columns[(i + 4) % 5] ^ rotated(columns[(i + 1) % 5], 1);
  u64 moved = a[1];
#pragma unroll
  for (u32 t = 0; t < 24; ++t) {
    const u64 next = a[way[t]];
    a[way[t]] = rotated(moved, amounts[t]);
    moved = next;
  }
#pragma unroll
  for (u32 y = 0; y < STATE_WORDS; y += 5) {
    const u64 row[5] = {a[y], a[y + 1], a[y + 2], a[y + 3], a[y + 4]};
#pragma unroll
    for (u32 x = 0; x < 5; ++x) a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
  }
  a[0] ^= constant;
}

DEVICE void hash_message(const u64 *message, u64 hash[HASH_WORDS]) {
  u64 a[STATE_WORDS];
#pragma unroll
  for (u32 i = 0; i < STATE_WORDS; ++i) a[i] = i < MESSAGE_WORDS ? message[i] : 0;
  a[FIRST_PADDED_WORD] = 1;
  a[LAST_PADDED_WORD] = (u64)1 << 63;
#pragma unroll 1
  for (u32 i = 0; i < ROUNDS; ++i) keccak_round(a, ROUND_CONSTANTS[i]);
#pragma unroll
  for (u32 i = 0; i < HASH_WORDS; ++i) hash[i] = a[i];
}

// places: the address of each page; roots: 32 bytes for each.
extern "C" __global__ void __launch_bounds__(MOST_THREADS) hash_pages(const u64 *places, u64 *roots, u64 count) {
  SHARED(Hashes, shared);
  const u32 at_once = blockDim.x / PAIRS;
  for (u64 first = (u64)blockIdx.x * at_once; first < count; first += (u64)gridDim.x * at_once) {
    const u32 pages = (u32)(count - first < at_once ? count - first : at_once);
#pragma unroll 1
    for (u32 pairs = PAIRS; pairs > 0; pairs /= 2) {
      const bool is_first = pairs == PAIRS, has_work = threadIdx.x < pages * pairs;
      u64 hash[HASH_WORDS];
      if (has_work)
        hash_message(is_first ? (const u64 *)places[first + threadIdx.x / PAIRS] + MESSAGE_WORDS * (threadIdx.x % PAIRS)
                              : shared.words[2 * threadIdx.x], hash);
      __syncthreads();
      u64 *to = pairs == 1 ? roots + HASH_WORDS * (first + threadIdx.x) : shared.words[threadIdx.x];
      if (has_work)
#pragma unroll
        for (u32 i = 0; i < HASH_WORDS; ++i) to[i] = hash[i];
      __syncthreads();
    }
  }
}
