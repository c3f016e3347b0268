/* int8 matrix × vector, 1024 × 1024, two hundred times: what a model does most. */
#include <stdint.h>

#define SIZE 1024

static int8_t matrix[SIZE][SIZE], vector[SIZE];

int main(void) {
    for (int i = 0; i < SIZE; i++) {
        vector[i] = (int8_t)(i * 3);
        for (int j = 0; j < SIZE; j++) {
            matrix[i][j] = (int8_t)(i * 7 + j * 5);
        }
    }
    uint64_t total = 0;
    for (int iteration = 0; iteration < 200; iteration++) {
        for (int i = 0; i < SIZE; i++) {
            int32_t sum = 0;
            for (int j = 0; j < SIZE; j++) {
                sum += matrix[i][j] * vector[j];
            }
            total += (uint64_t)(int64_t)sum;
        }
        vector[iteration] ^= (int8_t)total;
    }
    return total == 0;
}
