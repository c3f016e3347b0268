/* A product of two 96 × 96 matrices in software binary32, six times. */
#include "../guest/binary32.h"

#define SIZE 96

static uint32_t a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

int main(void) {
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = 0x3f800000 + (uint32_t)(i * 77 + j * 12345); /* 1.0 and a little more */
            b[i][j] = 0x3f000000 + (uint32_t)(i * 54321 + j * 99);
        }
    }
    for (int iteration = 0; iteration < 6; iteration++) {
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) {
                uint32_t sum = 0;
                for (int k = 0; k < SIZE; k++) {
                    sum = f32_add(sum, f32_mul(a[i][k], b[k][j]));
                }
                c[i][j] = sum;
            }
        }
        a[iteration][iteration] = c[iteration][iteration];
    }
    return c[SIZE - 1][SIZE - 1] == 0;
}
