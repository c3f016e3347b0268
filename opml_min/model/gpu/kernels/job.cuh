// What a request is to the kernels: its tape, its bytes and its scratch on the card, its tokens, and how a drawn token ends it.
//
// Source: spec §3.2 and §3.3.
#pragma once
#include "attention.cuh"
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

DEVICE Request request_of(const Job &job) { return {(const u32 *)job.request, job.request_kind == TEXT_REQUEST}; }

// Writes a drawn token; returns whether it ends the run.
DEVICE bool end_with(const Job &job, const Request &request, u32 token, u32 position, const Share &share) {
  const u32 index = position - (request.prompt_length() - 1);
  bool is_done = !request.is_text;
  for (u64 k = 0; k < job.stop_count; ++k) is_done |= job.stop_tokens[k] == token;
  if (share.thread() == 0) {
    ((u32 *)(job.output + 32))[index] = token;
    ((u64 *)job.output)[0] = (u64)index + 1;
    if (is_done) ((u64 *)job.output)[1] = 1;
  }
  return is_done;
}
