/* Follows a chain of indices through 32 KiB: every load waits for the one before. */
#include <stdint.h>

#define COUNT 8192u

static uint32_t next[COUNT];

int main(void) {
    for (uint32_t i = 0; i < COUNT; i++) {
        next[i] = (i * 4099u + 1237u) % COUNT; /* one cycle through all of them */
    }
    uint32_t at = 0;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 100000000; i++) {
        at = next[at];
        sum += at;
    }
    return sum == 0;
}
