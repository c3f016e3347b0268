// Who sees whose writes: what a block has written is visible to another only behind a fence of each, with the barrier's word between them.
//
// Each block has a clock of all blocks. A fence notes how far the block and those it has heard of have come; counting up the word hands on
// what was noted; a look at the word, and a fence behind it, take it over. Two accesses of different blocks to one byte that this leaves without
// an order are a race, unless both read or both are atomic: a card's caches may show either value. The compiler calls `seen` for each access.
//
// Source: PTX ISA, Memory Consistency Model; Flanagan and Freund, FastTrack (2009), for the clocks.
#pragma once
#include <string.h>

#define UNSEEN __attribute__((no_sanitize("coverage")))

const unsigned MOST_BLOCKS = 4;

enum Kind { READ, WRITE, ATOMIC, KINDS };

struct Clock {
  unsigned at[MOST_BLOCKS];

  UNSEEN void join(const Clock &other) {
    for (unsigned k = 0; k < MOST_BLOCKS; ++k) at[k] = other.at[k] > at[k] ? other.at[k] : at[k];
  }
};

struct Accesses {  // to one byte: when each block made the latest of each kind
  unsigned at[KINDS][MOST_BLOCKS];
};

struct MemoryOrder {
  struct Range {
    char *begin, *end;
    Accesses *bytes;
  } ranges[4096];
  unsigned range_count, races;
  const void *word;  // of the grid's barrier
  Clock now[MOST_BLOCKS], noted[MOST_BLOCKS], heard[MOST_BLOCKS], handed_on;
  bool is_late[MOST_BLOCKS];  // whether a fence is due that was moved behind the next access to the word

  UNSEEN void begin(const void *barrier_word) {
    memset(now, 0, (char *)(is_late + MOST_BLOCKS) - (char *)now);
    for (unsigned k = 0; k < range_count; ++k) memset(ranges[k].bytes, 0, (ranges[k].end - ranges[k].begin) * sizeof(Accesses));
    for (unsigned k = 0; k < MOST_BLOCKS; ++k) now[k].at[k] = 1;
    word = barrier_word;
  }
  UNSEEN void fence(unsigned block) {
    now[block].join(heard[block]);
    noted[block] = now[block];
    ++now[block].at[block];
  }
  UNSEEN void at_word(unsigned block, Kind kind) {
    if (kind == ATOMIC) handed_on.join(noted[block]);
    if (kind == READ) heard[block].join(handed_on);
    if (is_late[block]) is_late[block] = false, fence(block);
  }
  UNSEEN void seen(unsigned block, const void *place, unsigned bytes, Kind kind) {
    const char *at = (const char *)place;
    if (at == word) return at_word(block, kind);
    const Range *range = ranges;
    while (range < ranges + range_count && !(range->begin <= at && at < range->end)) ++range;
    if (range == ranges + range_count) return;
    for (unsigned k = 0; k < bytes; ++k) {
      Accesses &byte = range->bytes[at - range->begin + k];
      for (unsigned other = 0; other < MOST_BLOCKS; ++other)
        for (unsigned before = READ; before < KINDS; ++before) {
          const bool may_meet = before == (unsigned)kind && kind != WRITE;
          races += other != block && !may_meet && byte.at[before][other] > now[block].at[other];
        }
      byte.at[kind][block] = now[block].at[block];
    }
  }
};
