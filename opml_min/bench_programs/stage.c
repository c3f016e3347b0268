/* Stages with a large memory, in the state quarter. The request says which: how the words are written, how many, and how often. */
#include <stdint.h>

enum { READ, STREAM, SCATTER }; /* order: opml_min/cli/bench/dispute.py */

static const uint64_t *const request = (const uint64_t *)0x8000000020;
static uint64_t *const words = (uint64_t *)0xC000001000;
static uint64_t *const result = (uint64_t *)0xC000000000;

static uint64_t xorshift(uint64_t x) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

/* Writes every word, then reads all of them over and over into one small result. */
static void read(uint64_t count, uint64_t iterations) {
    uint64_t x = 88172645463325252u;
    for (uint64_t i = 0; i < count; i++) {
        x = xorshift(x);
        words[i] = x;
    }
    uint64_t sum = 0;
    for (uint64_t iteration = 0; iteration < iterations; iteration++) {
        for (uint64_t i = 0; i < count; i++) {
            sum = (sum ^ words[i]) + iteration;
        }
        result[iteration % 64] = sum;
    }
}

/* Writes one word after the other, each after some iterations of computing. */
static void stream(uint64_t count, uint64_t iterations) {
    uint64_t x = 88172645463325252u;
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t iteration = 0; iteration < iterations; iteration++) {
            x = xorshift(x);
        }
        words[i] = x;
    }
}

/* Writes words here and there; count is a power of two. */
static void scatter(uint64_t count, uint64_t iterations) {
    uint64_t x = 88172645463325252u;
    for (uint64_t iteration = 0; iteration < iterations; iteration++) {
        x = xorshift(x);
        words[x >> 20 & (count - 1)] = x;
    }
}

int main(void) {
    uint64_t count = request[1], iterations = request[2];
    switch (request[0]) {
        case READ: read(count, iterations); return 0;
        case STREAM: stream(count, iterations); return 0;
        case SCATTER: scatter(count, iterations); return 0;
    }
    return 1;
}
