/* FNV-1a over 4 KiB that change: one long chain of multiplications. */
#include <stdint.h>

static uint8_t text[4096];

int main(void) {
    uint64_t hash = 0xcbf29ce484222325;
    for (int iteration = 0; iteration < 30000; iteration++) {
        for (int i = 0; i < 4096; i++) {
            hash = (hash ^ text[i]) * 0x100000001b3;
        }
        text[iteration % 4096] = (uint8_t)hash;
    }
    return hash == 0; /* so that nothing is left out */
}
