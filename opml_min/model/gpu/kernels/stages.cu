// One kernel that computes a range of stages on the model's and the state's bytes, as they lie in the machine's memory.
//
// Stage i is op `i mod n` of the tape at position `i div n`. The tape's addresses are those on the card. All blocks walk it together; before
// an op that touches what an earlier one wrote or reads, they wait for one another.
//
// Source: spec §3.3.
#include "attention.cuh"
#include "matmul.cuh"
#include "rows.cuh"
#include "sample.cuh"

const u32 RECORD_WORDS = 16;
const u64 TEXT_REQUEST = 0;

struct Job {  // what does not change while a request runs; numbers of 64 bits
  const i64 *tape;
  const u8 *barriers;  // one flag per op: whether to wait before it
  u64 op_count;
  const u8 *request;  // its bytes
  u8 *output;         // count, done, and the tokens from byte 32 on
  u64 request_kind;
  u64 stop_count;
  u64 stop_tokens[4];
  const i32 *sigmoids;
  Scratch scratch;
  u64 *arrived;  // of the grid's barrier
};

struct Request {
  const u32 *words;  // prompt length, new tokens, temperature, 0, seed, prompt
  bool is_text;

  DEVICE_METHOD u32 prompt_length() const { return is_text ? words[0] : 1; }
  DEVICE_METHOD Draw draw(u32 position) const {
    if (!is_text) return {0, 0, position};
    return {words[2], (u64)words[5] << 32 | words[4], position};
  }
  DEVICE_METHOD u32 token(const Job &job, u32 position) const {
    const u32 length = prompt_length();
    return position < length ? words[6 + position] : ((const u32 *)(job.output + 32))[position - length];
  }
};

// Writes a drawn token; returns whether it ends the run.
DEVICE bool end_with(const Job &job, const Request &request, u32 token, u32 position) {
  const u32 index = position - (request.prompt_length() - 1);
  bool is_done = !request.is_text;
  for (u64 k = 0; k < job.stop_count; ++k) is_done |= job.stop_tokens[k] == token;
  if (thread_of_grid() == 0) {
    ((u32 *)(job.output + 32))[index] = token;
    ((u64 *)job.output)[0] = (u64)index + 1;
    if (is_done) ((u64 *)job.output)[1] = 1;
  }
  return is_done;
}

extern "C" __global__ void __launch_bounds__(256) run_stages(const Job *jobs, u64 first, u64 end) {
  SHARED(Shared, shared);
  const Job &job = *jobs;
  const Request request = {(const u32 *)job.request, job.request_kind == TEXT_REQUEST};
  GridBarrier barrier = {job.arrived, 0};
  u64 op = first % job.op_count;
  u32 position = (u32)(first / job.op_count), turn = 0;
  for (u64 stage = first; stage < end; ++stage, ++op) {
    if (op == job.op_count) {
      op = 0;
      ++position;
    }
    if (stage != first && job.barriers[op]) {
      WAIT_FOR_GRID(barrier);
      turn = 0;
    }
    const i64 *record = job.tape + RECORD_WORDS * op, *o = record + 2;
    const bool draws = position + 1 >= request.prompt_length();
    if (record[1] == 1 && !draws) continue;
    switch (record[0]) {
      case 1: embed(o, request.token(job, position)); break;
      case 2: norm(o, shared); break;
      case 3: matmul(o, turn, shared); break;
      case 4: rope(o, position); break;
      case 5: store_kv(o, position); break;
      case 6: {
        const Attention attention = {o, job.scratch, position + 1};
        attention_scores(attention, shared);
        WAIT_FOR_GRID(barrier);
        attention_sums(attention, shared);
        WAIT_FOR_GRID(barrier);
        attention_outputs(attention, shared);
        break;
      }
      case 7: swiglu(o, job.sigmoids, shared); break;
      case 8: add(o); break;
      case 9:
        if (draws && end_with(job, request, sample(o, request.draw(position), shared), position)) return;
        break;
      case 10: input(o, job.request); break;
      case 11: relu(o, shared); break;
    }
  }
}
