// One kernel that computes a range of stages on the model's and the state's bytes, as they lie in the machine's memory.
//
// Stage i is op `i mod n` of the tape at position `i div n`. The tape's addresses are those on the card. All blocks walk it together; before
// an op that touches what an earlier one wrote or reads, they wait for one another.
//
// Source: spec §3.3.
#include "job.cuh"
#include "matmul.cuh"
#include "rows.cuh"
#include "sample.cuh"

extern "C" __global__ void __launch_bounds__(256) run_stages(const Job *jobs, u64 first, u64 end) {
  SHARED(Shared, shared);
  const Job &job = *jobs;
  const Request request = request_of(job);
  const Share all = whole_grid();
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
      case 1: embed(o, request.token(job, position), all); break;
      case 2: norm(o, all, shared); break;
      case 3: matmul(o, OnePlace{(const u8 *)o[1], (i32 *)o[0]}, turn, shared); break;
      case 4: rope(o, position, all); break;
      case 5: store_kv(o, position, all); break;
      case 6: {
        const Attention attention = {o, job.scratch, position + 1};
        attention_scores(attention, all, shared);
        WAIT_FOR_GRID(barrier);
        attention_sums(attention, all, shared);
        WAIT_FOR_GRID(barrier);
        attention_outputs(attention, all, shared);
        break;
      }
      case 7: swiglu(o, job.sigmoids, all, shared); break;
      case 8: add(o, all); break;
      case 9:
        if (draws && end_with(job, request, sample(o, request.draw(position), shared), position, all)) return;
        break;
      case 10: input(o, job.request, all); break;
      case 11: relu(o, all, shared); break;
    }
  }
}
