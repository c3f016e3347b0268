// One kernel that computes whole positions several at a time, so that the weights are read once for all of them.
//
// A batch holds up to 32 positions: neighbouring ones of a prompt, current ones of several requests, or both. All blocks walk the tape once
// per batch. In a product every block works for all positions; in other ops each position has its share of the blocks.
//
// Positions of one request share nothing but its KV cache, which the host has checked. The last of them works on the request's own buffers,
// and so leaves what it would leave alone; each of the others works on a copy. Only the last one may draw a token.
//
// Source: spec §3.3, by which stages may be computed in any order that leaves the same memory.
#include "job.cuh"
#include "matmul.cuh"
#include "rows.cuh"
#include "sample.cuh"

const u32 OPERAND_WORDS = RECORD_WORDS - 2;

struct Position {
  const Job *job;
  u64 position;
  const u8 *own;  // the request's buffers
  i64 distance;   // from there to the buffers of this position
};

struct BatchJob {
  const Position *positions;
  const u64 *firsts;    // index of each batch's first position, and the end
  const u8 *is_copied;  // (ops, OPERAND_WORDS): the operands that are addresses of buffers
  u64 copied_bytes;     // a multiple of 16
  const u8 *barriers;
  const Scratch *scratch;  // for each position of a batch
  u64 *arrived;
};

struct Operands {
  i64 words[OPERAND_WORDS];

  DEVICE_METHOD void load(const BatchJob &batches, const Position &at, u64 op) {
    const i64 *record = at.job->tape + RECORD_WORDS * op + 2;
    const u8 *is_copied = batches.is_copied + OPERAND_WORDS * op;
#pragma unroll
    for (u32 k = 0; k < OPERAND_WORDS; ++k) words[k] = record[k] + (is_copied[k] ? at.distance : 0);
  }
};

// The index of the k-th position of those in a mask.
DEVICE u32 nth_of(u32 mask, u32 k) {
  for (; k > 0; --k) mask &= mask - 1;
  return (u32)__ffs((int)mask) - 1;
}

// Gives each position of a mask its share of the blocks, or each block several positions.
template <class Work>
DEVICE void for_each(u32 mask, Work work) {
  const u32 count = (u32)__popc(mask);
  for (u32 k = blockIdx.x % count; k < count; k += gridDim.x) {
    Share share = {0, 1};
    if (count < gridDim.x) share = {blockIdx.x / count, (gridDim.x - k + count - 1) / count};
    work(nth_of(mask, k), share);
  }
}

DEVICE void copy_buffers(const BatchJob &batches, const Position &at, const Share &share) {
  const uint4 *from = (const uint4 *)at.own;
  uint4 *to = (uint4 *)(at.own + at.distance);
  for (u64 i = share.thread(); i < batches.copied_bytes / sizeof(uint4); i += share.threads()) to[i] = from[i];
}

// Computes an op that needs no barrier inside, and no other position's part.
DEVICE void compute_alone(u64 opcode, const i64 *o, const Position &at, const Share &share, Shared &shared) {
  const Job &job = *at.job;
  const Request request = request_of(job);
  const u32 position = (u32)at.position;
  switch (opcode) {
    case 1: embed(o, request.token(job, position), share); break;
    case 2: norm(o, share, shared); break;
    case 4: rope(o, position, share); break;
    case 5: store_kv(o, position, share); break;
    case 7: swiglu(o, job.sigmoids, share, shared); break;
    case 8: add(o, share); break;
    case 9:
      if (share.block == 0) end_with(job, request, sample(o, request.draw(position), shared), position, share);
      break;
    case 11: relu(o, share, shared); break;
  }
}

template <class Phase>
DEVICE void attend(const BatchJob &batches, const Position *positions, u32 mask, u64 op, Phase phase) {
  for_each(mask, [&](u32 index, const Share &share) {
    Operands own;
    own.load(batches, positions[index], op);
    phase(Attention{own.words, batches.scratch[index], (u32)positions[index].position + 1}, share);
  });
}

extern "C" __global__ void __launch_bounds__(256) run_batches(const BatchJob *jobs, u64 first, u64 end) {
  SHARED(Shared, shared);
  const BatchJob &batches = *jobs;
  GridBarrier barrier = {batches.arrived, 0};
  for (u64 batch = first; batch < end; ++batch) {
    if (batch != first) WAIT_FOR_GRID(barrier);
    // Lane k finds out what there is to do at position k.
    const Position *positions = batches.positions + batches.firsts[batch];
    const u32 lane = lane_of();
    bool goes_on = lane < batches.firsts[batch + 1] - batches.firsts[batch], draws = false, is_copy = false;
    if (goes_on) {
      const Position &own = positions[lane];
      goes_on = ((const u64 *)own.job->output)[1] == 0;
      draws = goes_on && own.position + 1 >= request_of(*own.job).prompt_length();
      is_copy = goes_on && own.distance != 0;
    }
    const u32 going_on = __ballot_sync(ALL_LANES, goes_on), drawing = __ballot_sync(ALL_LANES, draws);
    const u32 copies = __ballot_sync(ALL_LANES, is_copy);
    if (going_on == 0) continue;
    if (copies != 0) {  // for what no op writes, such as padding
      for_each(copies, [&](u32 index, const Share &share) { copy_buffers(batches, positions[index], share); });
      WAIT_FOR_GRID(barrier);
    }
    const Job &any = *positions[nth_of(going_on, 0)].job;
    u32 turn = 0;
    for (u64 op = 0; op < any.op_count; ++op) {
      if (op != 0 && batches.barriers[op]) {
        WAIT_FOR_GRID(barrier);
        turn = 0;
      }
      const i64 *record = any.tape + RECORD_WORDS * op;
      const u64 opcode = (u64)record[0];
      const u32 mask = record[1] == 1 ? drawing : opcode == 9 ? going_on & drawing : going_on;
      if (mask == 0) continue;
      if (opcode == 3) {
        const u32 count = (u32)__popc(mask);
        PlacePerLane places = {count, 0, 0};
        if (lane < count) {
          Operands own;
          own.load(batches, positions[nth_of(mask, lane)], op);
          places.own_x = (u64)own.words[1];
          places.own_out = (u64)own.words[0];
        }
        matmul(record + 2, places, turn, shared);
      } else if (opcode == 6) {
        attend(batches, positions, mask, op, [&](const Attention &a, const Share &share) { attention_scores(a, share, shared); });
        WAIT_FOR_GRID(barrier);
        attend(batches, positions, mask, op, [&](const Attention &a, const Share &share) { attention_sums(a, share, shared); });
        WAIT_FOR_GRID(barrier);
        attend(batches, positions, mask, op, [&](const Attention &a, const Share &share) {
          attention_outputs(a, share, shared);
          __syncthreads();  // before the next position's heads take the place of these
        });
      } else {
        for_each(mask, [&](u32 index, const Share &share) {
          Operands own;
          own.load(batches, positions[index], op);
          compute_alone(opcode, own.words, positions[index], share, shared);
        });
      }
    }
  }
}
