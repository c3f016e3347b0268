// An emulator of the card: every thread of the grid is a fiber, and a scheduler as unfair as asked decides who goes on.
//
// A thread goes on until it waits: for its warp at a shuffle, for its block at __syncthreads, for the grid while it spins. So what a schedule
// can show is whether some barrier is missing. What caches would show of a missing fence, memory_order.h finds when it is compiled in.
#include "cuda.h"
#include "fibers.h"
#include "keccak.cu"
#include "stages.cu"
#include "batches.cu"

#include <sys/mman.h>

enum Schedule { FAIR, FIRST_FIRST, LAST_FIRST, SHUFFLED };

Thread *current;

namespace {

const int MOST_SITES = 256;
const char *site_files[MOST_SITES];
int site_lines[MOST_SITES], site_count, removed_site = -1;

void *scheduler;
void (*kernel)(const u64 *arguments);
u64 kernel_arguments[3], random_state;
Schedule schedule;

u64 random_below(u64 n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % n;
}

void shuffle_order(u32 *order, u32 count) {
  for (u32 k = count; k > 1; --k) {
    const u32 other = (u32)random_below(k), kept = order[k - 1];
    order[k - 1] = order[other];
    order[other] = kept;
  }
}

void stages_kernel(const u64 *arguments) { run_stages((const Job *)arguments[0], arguments[1], arguments[2]); }
void batches_kernel(const u64 *arguments) { run_batches((const BatchJob *)arguments[0], arguments[1], arguments[2]); }
void keccak_kernel(const u64 *arguments) { hash_pages((const u64 *)arguments[0], (u64 *)arguments[1], arguments[2]); }

void thread_main() {
  kernel(kernel_arguments);
  give_way(FINISHED);
}

template <class T>
T *of(size_t count) {
  return (T *)calloc(count, sizeof(T));
}

struct Grid {
  u32 warps;
  Block *block;
  Warp *warp;
  Thread *thread;
  u32 *warp_order, *lane_order;

  bool can_go_on(const Thread &thread) const {
    switch (thread.waiting) {
      case FOR_WARP: return thread.generation != thread.warp->generation;
      case FOR_BLOCK: return thread.generation != thread.block->generation;
      case FINISHED: return false;
      default: return true;
    }
  }

  // Resumes each lane once, if it can go on. One that only spins has made no progress.
  bool visit_warp(u32 w) {
    bool progress = false;
    for (u32 k = 0; k < 32; ++k) {
      Thread &lane = thread[w * 32 + lane_order[w * 32 + k]];
      if (!can_go_on(lane)) continue;
      const bool spun = lane.waiting == FOR_GRID;
      current = &lane;
      lane.waiting = NOT;
      switch_stack(&scheduler, lane.stack_pointer);
      progress |= !(spun && lane.waiting == FOR_GRID);
    }
    return progress;
  }

  // Unfair: the first warp in the order that can go on does so, until it cannot. SHUFFLED draws a new order now and then.
  bool run() {
    u32 idle = 0, visits = 0;
    while (!is_finished()) {
      bool progress = false;
      for (u32 k = 0; k < warps; ++k) {
        if (!visit_warp(warp_order[k])) continue;
        progress = true;
        if (schedule == FAIR) continue;
        if (schedule == SHUFFLED && ++visits % 64 == 0) shuffle_order(warp_order, warps);
        k = (u32)-1;
      }
      idle = progress ? 0 : idle + 1;
      if (idle > 1000) return false;
    }
    return true;
  }

  bool is_finished() const {
    for (u32 k = 0; k < warps * 32; ++k)
      if (thread[k].waiting != FINISHED) return false;
    return true;
  }
};

#ifdef WATCHED
MemoryOrder memory_order;
int late_site = -1;
#endif

}  // namespace

#ifdef WATCHED
UNSEEN void fence(int site) {
  if (is_removed(site)) return;
  if (site == late_site)
    memory_order.is_late[current->block->index.x] = true;
  else
    memory_order.fence(current->block->index.x);
}

UNSEEN void atomic_access(const void *at, unsigned bytes) { memory_order.seen(current->block->index.x, at, bytes, ATOMIC); }

extern "C" {
#define ACCESS(name, bytes, kind) \
  UNSEEN void __sanitizer_cov_##name##bytes(const void *at) { \
    if (current) memory_order.seen(current->block->index.x, at, bytes, kind); \
  }
ACCESS(load, 1, READ) ACCESS(load, 2, READ) ACCESS(load, 4, READ) ACCESS(load, 8, READ) ACCESS(load, 16, READ)
ACCESS(store, 1, WRITE) ACCESS(store, 2, WRITE) ACCESS(store, 4, WRITE) ACCESS(store, 8, WRITE) ACCESS(store, 16, WRITE)

unsigned races() { return memory_order.races; }
void forget_races() { memory_order.races = 0; }
void make_late(int site) { late_site = site; }
}
#endif

void give_way(Waiting why) {
  current->waiting = why;
  switch_stack(&current->stack_pointer, scheduler);
}

int site_of(const char *file, int line) {
  site_files[site_count] = file;
  site_lines[site_count] = line;
  return site_count++;
}

bool is_removed(int site) { return site == removed_site; }

extern "C" {

u32 elementary_rsqrt(u64 v) { return rsqrt_floor(v); }
u32 elementary_reciprocal(u64 v) { return reciprocal_floor(v); }
i32 elementary_exp2(i64 z) { return exp2_q24(z); }
i32 elementary_sigmoid(i32 g, const i32 *table) { return sigmoid_q30(g, table); }

int sites() { return site_count; }
const char *site_file(int site) { return site_files[site]; }
int site_line(int site) { return site_lines[site]; }
void remove_site(int site) { removed_site = site; }

// Memory that ends (up to alignment) where an access ends the process, and begins with rubbish.
void *allocate(u64 bytes) {
  const u64 page = 4096, aligned = (bytes + 255) / 256 * 256, mapped = (aligned + page - 1) / page * page + 2 * page;
  char *at = (char *)mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED || mprotect(at + page, mapped - 2 * page, PROT_READ | PROT_WRITE)) return nullptr;
  char *begin = at + mapped - page - aligned;
  memset(begin, 0xa5, aligned);
#ifdef WATCHED
  memory_order.ranges[memory_order.range_count++] = {begin, begin + bytes, of<Accesses>(bytes)};
#endif
  return begin;
}

void release(char *begin, u64 bytes) {
#ifdef WATCHED
  for (u32 k = memory_order.range_count; k-- > 0;)
    if (memory_order.ranges[k].begin == begin) {
      free(memory_order.ranges[k].bytes);
      memory_order.ranges[k] = memory_order.ranges[--memory_order.range_count];
    }
#endif
  const u64 page = 4096, aligned = (bytes + 255) / 256 * 256, mapped = (aligned + page - 1) / page * page + 2 * page;
  munmap(begin + page + aligned - mapped, mapped);
}

// Runs a kernel by its name and returns whether all threads came to the end.
bool launch(const char *name, u64 first, u64 second, u64 third, u32 blocks, u32 threads, int how, u64 seed) {
  const u32 all = blocks * threads;
  const size_t shared_bytes = ((sizeof(Shared) > sizeof(Hashes) ? sizeof(Shared) : sizeof(Hashes)) + 63) / 64 * 64;
  Grid grid = {all / 32, of<Block>(blocks), of<Warp>(all / 32), of<Thread>(all), of<u32>(all / 32), of<u32>(all)};
  char *stacks = (char *)malloc(all * STACK_BYTES), *shared = (char *)aligned_alloc(64, blocks * shared_bytes);
  memset(shared, 0, blocks * shared_bytes);  // so what a removed barrier lets through too early is the same each time
  kernel = !strcmp(name, "hash_pages") ? keccak_kernel : !strcmp(name, "run_batches") ? batches_kernel : stages_kernel;
  kernel_arguments[0] = first, kernel_arguments[1] = second, kernel_arguments[2] = third;
  schedule = (Schedule)how, random_state = seed * 2 + 1;
  for (u32 b = 0; b < blocks; ++b)
    grid.block[b] = {0, 0, threads, {b, 0, 0}, {threads, 1, 1}, {blocks, 1, 1}, shared + b * shared_bytes};
  for (u32 k = 0; k < all; ++k) {
    void *stack = new_fiber(stacks + k * STACK_BYTES, thread_main);
    grid.thread[k] = {stack, grid.block + k / threads, grid.warp + k / 32, {k % threads, 0, 0}, k % 32, 0, NOT};
    grid.lane_order[k] = k % 32;
  }
  for (u32 w = 0; w < all / 32; ++w) {
    grid.warp_order[w] = schedule == LAST_FIRST ? all / 32 - 1 - w : w;
    shuffle_order(grid.lane_order + 32 * w, 32);
  }
  if (schedule == SHUFFLED) shuffle_order(grid.warp_order, all / 32);
#ifdef WATCHED
  memory_order.begin(kernel == stages_kernel    ? ((const Job *)first)->arrived
                     : kernel == batches_kernel ? ((const BatchJob *)first)->arrived
                                                : nullptr);
#endif
  const bool ended = grid.run();
  current = nullptr;
  free(grid.block), free(grid.warp), free(grid.thread), free(grid.warp_order), free(grid.lane_order), free(stacks), free(shared);
  return ended;
}
}
