// MATMUL: a matrix of small integers times an activation, read from the 8-row tiles as they lie in the image.
//
// A block of a tile is 8 rows × 32 columns. Four lanes share it: each reads 16 bytes at a time, which are two columns (c, c + 1) of all 8
// rows, and one dp2a multiplies a row's two columns with the pair of numbers from the activation. Then the four lanes exchange their sums,
// so that each has two whole rows, and multiplies these by their scales. A warp reads 8 blocks at once.
//
// Several positions can share the reading: a block then stays in registers while each position's numbers are multiplied with it.
//
// A sum over a group is below 32 · 128 · 2^15 = 2^27, a scale below 2^31; the loader has checked that a row's sum fits 62 bits.
//
// Source: spec §3.4 and §3.5.
#pragma once
#include "fixed.cuh"
#include "parallel.cuh"

const u32 TILE_ROWS = 8;
const u32 LANES_PER_BLOCK = 4;
const u32 BLOCKS_AT_ONCE = LANES / LANES_PER_BLOCK;
const u32 ACTIVATION_HEAD_BYTES = 32;
const i32 HALF_FRACTION_BITS = 24;

struct Q8_0 {
  static constexpr u32 block_bytes = 272, scale_offset = 256, pieces = 4;
  static constexpr bool has_nibbles = false, has_minimums = false;
  static constexpr i32 bias_bytes = 0;
};
struct Q4_0 {
  static constexpr u32 block_bytes = 144, scale_offset = 128, pieces = 2;
  static constexpr bool has_nibbles = true, has_minimums = false;
  static constexpr i32 bias_bytes = 0xf8f8;  // two columns of −8
};
struct Q4_1 {
  static constexpr u32 block_bytes = 160, scale_offset = 128, pieces = 2;
  static constexpr bool has_nibbles = true, has_minimums = true;
  static constexpr i32 bias_bytes = 0;
};

struct TwoRows {
  i64 row[2];
};

DEVICE void add_products(i32 sums[TILE_ROWS], i32 pair, u32 word0, u32 word1, u32 word2, u32 word3) {
  sums[0] = dp2a_lo(pair, (i32)word0, sums[0]);
  sums[1] = dp2a_hi(pair, (i32)word0, sums[1]);
  sums[2] = dp2a_lo(pair, (i32)word1, sums[2]);
  sums[3] = dp2a_hi(pair, (i32)word1, sums[3]);
  sums[4] = dp2a_lo(pair, (i32)word2, sums[4]);
  sums[5] = dp2a_hi(pair, (i32)word2, sums[5]);
  sums[6] = dp2a_lo(pair, (i32)word3, sums[6]);
  sums[7] = dp2a_hi(pair, (i32)word3, sums[7]);
}

// What a lane reads of a block: its columns of all 8 rows, and the scales of the rows that it keeps.
template <class Q>
struct Weights {
  uint4 words[Q::pieces];
  i32 scales[2], minimums[2];

  DEVICE_METHOD void load(const u8 *block) {
    const u32 part = lane_of() % LANES_PER_BLOCK;
#pragma unroll
    for (u32 i = 0; i < Q::pieces; ++i) words[i] = __ldg((const uint4 *)block + i * LANES_PER_BLOCK + part);
    load_halfs(block + Q::scale_offset, scales);
    if (Q::has_minimums) load_halfs(block + Q::scale_offset + 16, minimums);
  }
  DEVICE_METHOD static void load_halfs(const u8 *from, i32 halfs[2]) {
    const u32 both = __ldg((const u32 *)from + lane_of() % LANES_PER_BLOCK);
    halfs[0] = half_q24(both & 0xffff);
    halfs[1] = half_q24(both >> 16);
  }
};

// The sums of 8 rows over this lane's columns of a block. `total` becomes the sum of its numbers of the activation, if minimums need it.
template <class Q>
DEVICE void block_sums(const Weights<Q> &weights, const i32 *pairs, i32 sums[TILE_ROWS], i32 &total) {
  const u32 nibbles = 0x0f0f0f0fu;
  const u32 part = lane_of() % LANES_PER_BLOCK;
  i32 bias = 0;
#pragma unroll
  for (u32 i = 0; i < Q::pieces; ++i) {
    const uint4 words = weights.words[i];
    i32 pair = pairs[i * LANES_PER_BLOCK + part];
    if (!Q::has_nibbles) {
      add_products(sums, pair, words.x, words.y, words.z, words.w);
      continue;
    }
    i32 upper = pairs[8 + i * LANES_PER_BLOCK + part];  // 16 columns further on
    add_products(sums, pair, words.x & nibbles, words.y & nibbles, words.z & nibbles, words.w & nibbles);
    add_products(sums, upper, words.x >> 4 & nibbles, words.y >> 4 & nibbles, words.z >> 4 & nibbles, words.w >> 4 & nibbles);
    if (Q::bias_bytes != 0) bias = dp2a_lo(upper, Q::bias_bytes, dp2a_lo(pair, Q::bias_bytes, bias));
    if (Q::has_minimums) total = dp2a_lo(upper, 0x0101, dp2a_lo(pair, 0x0101, total));
  }
  if (Q::bias_bytes != 0)
#pragma unroll
    for (u32 row = 0; row < TILE_ROWS; ++row) sums[row] += bias;
}

// Adds over the four lanes of a block; lane k of them keeps rows 2k and 2k + 1.
DEVICE void exchange(const i32 sums[TILE_ROWS], i32 kept[2]) {
  const bool upper = lane_of() & 2, odd = lane_of() & 1;
  i32 half[4];
#pragma unroll
  for (u32 row = 0; row < 4; ++row)
    half[row] = (upper ? sums[row + 4] : sums[row]) + __shfl_xor_sync(ALL_LANES, upper ? sums[row] : sums[row + 4], 2);
#pragma unroll
  for (u32 row = 0; row < 2; ++row)
    kept[row] = (odd ? half[row + 2] : half[row]) + __shfl_xor_sync(ALL_LANES, odd ? half[row] : half[row + 2], 1);
}

// The sums of a tile over the columns of each `parts`-th turn of this warp, for each position. Lane k < 4 gets rows 2k and 2k + 1.
template <class Q, u32 POSITIONS>
DEVICE void tile_sums(const u8 *tile, const i32 *const pairs[POSITIONS], u32 groups, u32 part, u32 parts, TwoRows acc[POSITIONS]) {
  for (u32 first = part * BLOCKS_AT_ONCE; first < groups; first += parts * BLOCKS_AT_ONCE) {
    u32 group = first + lane_of() / LANES_PER_BLOCK;
    bool is_there = group < groups;
    Weights<Q> weights = {};
    if (is_there) weights.load(tile + (u64)group * Q::block_bytes);
#pragma unroll
    for (u32 k = 0; k < POSITIONS; ++k) {
      i32 sums[TILE_ROWS] = {0, 0, 0, 0, 0, 0, 0, 0}, kept[2], total = 0;
      if (is_there) block_sums<Q>(weights, pairs[k] + 16 * group, sums, total);
      exchange(sums, kept);
      acc[k].row[0] += (i64)weights.scales[0] * kept[0];
      acc[k].row[1] += (i64)weights.scales[1] * kept[1];
      if (Q::has_minimums) {
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        acc[k].row[0] += (i64)weights.minimums[0] * total;
        acc[k].row[1] += (i64)weights.minimums[1] * total;
      }
    }
  }
#pragma unroll
  for (u32 k = 0; k < POSITIONS; ++k)
#pragma unroll
    for (u32 distance = LANES_PER_BLOCK; distance < LANES; distance *= 2)
#pragma unroll
      for (u32 row = 0; row < 2; ++row) acc[k].row[row] += __shfl_xor_sync(ALL_LANES, acc[k].row[row], distance);
}

// Waits for the warps that share a tile, which may be only this one.
DEVICE void wait_for_parts(u32 parts) {
  if (parts > 1)
    __syncthreads();
  else
    __syncwarp();
}

// How many warps share a tile: as many as would otherwise have none, if the row is long enough.
DEVICE u32 warps_per_tile(u32 tiles, u32 groups) {
  u32 parts = 1;
  while (2 * parts <= warps() && (u64)tiles * 2 * parts <= (u64)gridDim.x * warps() && 2 * parts * BLOCKS_AT_ONCE <= groups) parts *= 2;
  return parts;
}

// Where a position has its activation and its results. The lanes of a warp ask together, each for any position.
struct OnePlace {
  static constexpr u32 together = 1;
  const u8 *only_x;
  i32 *only_out;

  DEVICE_METHOD u32 count() const { return 1; }
  DEVICE_METHOD const u8 *x(u32) const { return only_x; }
  DEVICE_METHOD i32 *out(u32) const { return only_out; }
};

struct PlacePerLane {  // lane k knows those of position k
  static constexpr u32 together = TOGETHER;
  u32 positions;
  u64 own_x, own_out;

  DEVICE_METHOD u32 count() const { return positions; }
  DEVICE_METHOD const u8 *x(u32 k) const { return (const u8 *)__shfl_sync(ALL_LANES, own_x, k); }
  DEVICE_METHOD i32 *out(u32 k) const { return (i32 *)__shfl_sync(ALL_LANES, own_out, k); }
};

struct Product {
  const u8 *matrix;
  u32 rows, groups, tiles, parts;
  i64 out_frac;
};

// Multiplies a tile with the activations of the positions from `first` on. A position beyond the last one is computed like the last one.
template <class Q, class Places>
DEVICE void multiply_tile(const Product &product, const Places &places, u32 tile, u32 first, Shared &shared) {
  constexpr u32 POSITIONS = Places::together;
  const u32 lane = lane_of(), part = warp_of() % product.parts, last = places.count() - 1;
  const i32 *pairs[POSITIONS];
  TwoRows acc[POSITIONS] = {};
#pragma unroll
  for (u32 k = 0; k < POSITIONS; ++k) pairs[k] = (const i32 *)(places.x(min_of(first + k, last)) + ACTIVATION_HEAD_BYTES);
  if (tile < product.tiles)
    tile_sums<Q, POSITIONS>(product.matrix + (u64)tile * product.groups * Q::block_bytes, pairs, product.groups, part, product.parts, acc);
  if (lane < LANES_PER_BLOCK)
#pragma unroll
    for (u32 k = 0; k < POSITIONS; ++k)
      for (u32 row = 0; row < 2; ++row) shared.rows[warp_of()][k][2 * lane + row] = acc[k].row[row];
  wait_for_parts(product.parts);
  const u32 k = lane / TILE_ROWS, row = tile * TILE_ROWS + lane % TILE_ROWS;
  const u8 *x = places.x(min_of(first + k, last));
  i32 *out = places.out(min_of(first + k, last));
  if (part == 0 && k < POSITIONS && first + k <= last && row < product.rows) {
    i64 sum = 0;
    for (u32 other = 0; other < product.parts; ++other) sum += shared.rows[warp_of() + other][k][lane % TILE_ROWS];
    out[row] = round_shift_sat32(sum, (i64) * (const i32 *)x + HALF_FRACTION_BITS - product.out_frac);
  }
  wait_for_parts(product.parts);
}

// The warps of a block take neighbouring sets of positions of one tile, so that they read the same weights at about the same time.
template <class Q, class Places>
DEVICE void multiply(const i64 *o, const Places &places, u32 &turn, Shared &shared) {
  const u32 rows = (u32)o[4], groups = (u32)o[5] / 32, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  const u32 sets = (places.count() + Places::together - 1) / Places::together;
  const Product product = {(const u8 *)o[2], rows, groups, tiles, warps_per_tile(tiles * sets, groups), o[6]};
  const u32 at_once = warps() / product.parts, units = (tiles * sets + at_once - 1) / at_once;
  // Products of one activation have no barrier between them, so each begins with the block at which the one before ended.
  u32 unit = (blockIdx.x + gridDim.x - turn) % gridDim.x;
  turn = (turn + units) % gridDim.x;
  for (; unit < units; unit += gridDim.x) {
    const u32 set = unit * at_once + warp_of() / product.parts;
    multiply_tile<Q>(product, places, set / sets, set % sets * Places::together, shared);
  }
}

// out, x, matrix, quantisation, rows, columns, out_frac
template <class Places>
DEVICE void matmul(const i64 *o, const Places &places, u32 &turn, Shared &shared) {
  if (o[3] == 0) multiply<Q8_0>(o, places, turn, shared);
  if (o[3] == 1) multiply<Q4_0>(o, places, turn, shared);
  if (o[3] == 2) multiply<Q4_1>(o, places, turn, shared);
}

// out vector, matrix, quantisation, columns, length, r: the row of a token.
DEVICE void embed(const i64 *o, u32 token, const Share &share) {
  i32 *out = (i32 *)o[0];
  const u32 groups = (u32)o[3] / 32, length = (u32)o[4], lane = token % TILE_ROWS;
  const u32 block_bytes = o[2] == 0 ? Q8_0::block_bytes : o[2] == 1 ? Q4_0::block_bytes : Q4_1::block_bytes;
  const u8 *tile = (const u8 *)o[1] + (u64)(token / TILE_ROWS) * groups * block_bytes;
  for (u32 column = share.thread(); column < length; column += share.threads()) {
    const u8 *block = tile + (u64)(column / 32) * block_bytes;
    u32 c = column % 32, folded = o[2] == 0 ? c : c % 16;
    u32 stored = block[folded / 2 * 16 + lane * 2 + folded % 2];
    i64 weight = o[2] == 0 ? (i64)(i8)stored : (i64)(c < 16 ? stored & 15 : stored >> 4) - (o[2] == 1 ? 8 : 0);
    const u16 *halfs = (const u16 *)(block + (o[2] == 0 ? Q8_0::scale_offset : Q4_0::scale_offset));
    i64 value = weight * half_q24(halfs[lane]);
    if (o[2] == 2) value += half_q24(halfs[TILE_ROWS + lane]);
    out[column] = round_shift_sat32(value, HALF_FRACTION_BITS - o[5]);
  }
}
