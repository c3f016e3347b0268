/* Work arrays in the scratch quarter: zero at the start of a stage, forgotten at its end. Each has 4 GiB for itself. */
#ifndef WORK_H
#define WORK_H

#include <stdint.h>

#define WORK(number) ((void *)((uint64_t)(number) << 32))

#endif
