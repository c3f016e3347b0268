/* Fills 64 MiB of the state quarter, then reads all of it over and over into one small result: a stage with a large memory. */
#include <stdint.h>

#define WORDS ((uint64_t)1 << 23)
#define ROUNDS 80

static uint64_t *const words = (uint64_t *)0xC000001000;
static uint64_t *const result = (uint64_t *)0xC000000000;

int main(void) {
    uint64_t x = 88172645463325252u;
    for (uint64_t i = 0; i < WORDS; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift */
        words[i] = x;
    }
    uint64_t sum = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < WORDS; i++) {
            sum = (sum ^ words[i]) + round;
        }
        result[round] = sum;
    }
    return 0;
}
