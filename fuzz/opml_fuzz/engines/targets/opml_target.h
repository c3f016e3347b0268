/* An implementation of opML's machine as a shared library, for `opml-fuzz run --target lib:./mine.so`.
 *
 * Export `opml_target_version` and any of the functions below. You are asked the questions whose functions are there.
 * Each returns 0 and fills its last argument, or returns the number of an error (spec §2.5) and need not fill anything.
 * All are called in one process, one after the other; a memory may be another one than before, or the same. No function may keep a pointer.
 * Numbers in C are those of your processor; in a state and in a witness they are as spec §2.1 has them. */
#ifndef OPML_TARGET_H
#define OPML_TARGET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OPML_TARGET_VERSION 1
#define OPML_STATE_BYTES 297
#define OPML_MOST_WITNESS_BYTES 3768 /* of a right witness; a wrong one may have up to 65,536 */

/* Some bytes of a memory, at least one. Segments ascend and do not overlap; every byte outside of them is zero.
 * In opml_root they may begin and end anywhere. Elsewhere each is one leaf: 32 bytes at a multiple of 32. */
typedef struct {
    uint64_t address;
    const uint8_t *bytes;
    size_t length;
} opml_segment;

/* Returns OPML_TARGET_VERSION. */
int32_t opml_target_version(void);

/* execute: the hash of the state after the step of a witness, which may be wrong. */
int32_t opml_execute(const uint8_t *witness, size_t length, uint8_t hash[32]);

/* step: the hash of the state after one step. The state's memory_root is that of the memory. */
int32_t opml_step(const uint8_t state[OPML_STATE_BYTES], const opml_segment *memory, size_t segments, uint8_t hash[32]);

/* witness: the witness of the next step, and its length; nothing is in *length before. */
int32_t opml_witness(const uint8_t state[OPML_STATE_BYTES], const opml_segment *memory, size_t segments, size_t *length,
                     uint8_t witness[OPML_MOST_WITNESS_BYTES]);

/* root: the root of a memory. */
int32_t opml_root(const opml_segment *memory, size_t segments, uint8_t root[32]);

/* run: `count` hashes, of the states after so many steps, counted from the start. The stops ascend. */
int32_t opml_run(const uint8_t state[OPML_STATE_BYTES], const opml_segment *memory, size_t segments, const uint64_t *stops, size_t count,
                 uint8_t *hashes);

#ifdef __cplusplus
}
#endif

#endif
