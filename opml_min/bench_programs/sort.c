/* Quicksort of a million numbers: unpredictable branches. */
#include <stdint.h>

#define COUNT 1000000

static int32_t numbers[COUNT];

static void sort(int32_t *a, int64_t low, int64_t high) {
    while (low < high) {
        int32_t pivot = a[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot) i++;
            while (a[j] > pivot) j--;
            if (i <= j) {
                int32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort(a, low, j);
        low = i;
    }
}

int main(void) {
    uint64_t x = 88172645463325252u;
    for (int iteration = 0; iteration < 3; iteration++) {
        for (int i = 0; i < COUNT; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift */
            numbers[i] = (int32_t)x;
        }
        sort(numbers, 0, COUNT - 1);
        for (int i = 1; i < COUNT; i++) {
            if (numbers[i - 1] > numbers[i]) return 1;
        }
    }
    return 0;
}
