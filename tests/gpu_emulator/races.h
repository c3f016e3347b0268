// Who may see whose writes: what a block has written is visible to another one only behind a fence of each, with an atomic between them.
//
// Each block has a clock of all blocks. A fence notes what the block knows; an atomic hands on what was noted; a look at that word, and a fence
// behind it, take it over. An access that some other block's access to the same byte does not precede in this order, one of the two a write
// and not both atomic, is a race: a card's caches may show either value. The compiler calls `seen` before each load and store.
#pragma once
#include <string.h>

namespace races {

const unsigned MOST_BLOCKS = 8, MOST_RANGES = 4096;

struct Clock {
  unsigned at[MOST_BLOCKS];

  void join(const Clock &other) {
    for (unsigned k = 0; k < MOST_BLOCKS; ++k)
      if (other.at[k] > at[k]) at[k] = other.at[k];
  }
};

struct Access {
  unsigned char block, is_atomic;
  unsigned time;  // 0: none
};

struct Byte {
  Access write;
  Access reads[MOST_BLOCKS];
};

struct Range {  // of the card's memory
  char *begin;
  unsigned long long bytes;
  Byte *shadow;
};

struct Word {  // of which some block waits for another
  void *at;
  Clock handed_on;
};

Range ranges[MOST_RANGES];
unsigned range_count, found;
Clock clocks[MOST_BLOCKS], noted[MOST_BLOCKS], looked_at[MOST_BLOCKS];
Word word;
bool is_on;

inline Range *range_of(const void *at) {
  for (unsigned k = 0; k < range_count; ++k)
    if ((char *)at >= ranges[k].begin && (char *)at < ranges[k].begin + ranges[k].bytes) return ranges + k;
  return nullptr;
}

inline void begin(unsigned blocks) {
  found = 0;
  memset(noted, 0, sizeof(noted)), memset(looked_at, 0, sizeof(looked_at)), memset(clocks, 0, sizeof(clocks));
  memset(&word, 0, sizeof(word));
  for (unsigned k = 0; k < blocks; ++k) clocks[k].at[k] = 1;
  for (unsigned k = 0; k < range_count; ++k) memset(ranges[k].shadow, 0, ranges[k].bytes * sizeof(Byte));
}

}  // namespace races
