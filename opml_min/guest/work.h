/* Work arrays in the scratch quarter: zero at the start of a stage, forgotten at its end. Each has 4 GiB for itself. */
#ifndef WORK_H
#define WORK_H

#include "binary32.h"

#define WORK_VALUES      ((int64_t *)0x100000000)
#define WORK_SCORES      ((int64_t *)0x200000000)
#define WORK_FRACTIONS   ((int64_t *)0x300000000)
#define WORK_QUERY       ((int16_t *)0x400000000)
#define WORK_HEAD        ((int64_t *)0x600000000)
#define WORK_GROUP_SUMS  ((int64_t *)0x500000000)
#define WORK_FACTORS     ((void *)0x700000000)  /* dot.c */
#define WORK_FLOATS      ((f32 *)0x800000000)

#endif
