/* Tensors of a batch (spec §6.3): rows of vectors, activations and gradients; how values become such rows. */
#ifndef TENSORS_H
#define TENSORS_H

#include <stdint.h>

#include "../fixed.h"

enum { GRADIENT_WIDTH = 30 };

/* q * 2^-exponent, with one exponent for each row. */
struct activations {
    int32_t *exponents;
    int16_t *q;
};
struct gradients {
    int32_t *exponents;
    int32_t *q;
};

/* The exponents come first, then, at a multiple of 32, the values. */
static inline void *behind_exponents(void *tensor, uint64_t rows) { return (void *)(((uint64_t)tensor + 4 * rows + 31) & ~31ull); }
static inline struct activations activations(void *tensor, uint64_t rows)
{
    return (struct activations){tensor, behind_exponents(tensor, rows)};
}
static inline struct gradients gradients(void *tensor, uint64_t rows)
{
    return (struct gradients){tensor, behind_exponents(tensor, rows)};
}

/* Writes a row: the values have the same fraction bits. */
void write_activation(struct activations out, uint64_t row, const int64_t *values, uint64_t n, int64_t fraction_bits, int width);
void write_gradient(struct gradients out, uint64_t row, const int64_t *values, uint64_t n, int64_t fraction_bits);

/* Writes a row of several heads with fraction bits of their own. */
void join_activation(struct activations out, uint64_t row, const int64_t *values, const int64_t *fraction_bits, uint64_t heads,
                     uint64_t head_size, int width);
void join_gradient(struct gradients out, uint64_t row, const int64_t *values, const int64_t *fraction_bits, uint64_t heads,
                   uint64_t head_size);

/* An index that is too large counts as the last one. */
static inline uint64_t index_below(uint32_t index, uint64_t count) { return index < count ? index : count - 1; }

/* The length in bits of the longest value of a row. */
int longest_32(const int32_t *values, uint64_t n);

/* Whether a row is not all zero. Most rows tell with their first value. */
int any_16(const int16_t *values, uint64_t n);
int any_32(const int32_t *values, uint64_t n);
int any_64(const int64_t *values, uint64_t n);

/* Writes q; returns the exponent, which may be longer than a stored one. */
int64_t normalise_row(int16_t *q, const int64_t *values, uint64_t n, int64_t fraction_bits, int width);

/* ALIGN looks for the least exponent of the rows that are not all zero. */
#define NO_EXPONENT INT64_MAX
static inline int64_t least_exponent(int64_t so_far, int64_t exponent, int counts) { return counts ? min(so_far, exponent) : so_far; }
static inline int64_t exponent_or_zeros(int64_t exponent) { return exponent == NO_EXPONENT ? 127 : exponent; }

/* ALIGN of whole rows, in place; returns their exponent. */
int64_t align(int16_t *rows, const int64_t *exponents, uint64_t count, uint64_t length);

#endif
