"""Queues through which a leader shares work among threads: it divides the work into chunks, and every thread has a queue of them.

A queue is one atomic word with the number of the work in its upper half and the next chunk in its lower half. A thread takes a chunk by
adding 1 to the word. That returns the number of the work along with that of the chunk, so no thread can confuse two pieces of work. The
number of a piece of work is its first stage + 1.
"""

from numba import njit

from opml_min.model.native.kernels.atomic import atomic_add, atomic_load, atomic_store, wait_a_moment

DONE, STOP, QUEUES, QUEUE_WORDS = 0, 16, 32, 16  # places in the control array, in different pairs of cache lines
NOTHING, OVER = 0, (1 << 31) - 1  # instead of the number of some work
CHUNK_BITS = 32


def control_words(threads: int) -> int:
    return QUEUES + QUEUE_WORDS * threads


@njit
def _queue(control, thread):
    return control.ctypes.data + 8 * (QUEUES + QUEUE_WORDS * thread)


@njit
def publish(control, work, chunks, threads):
    """Give every thread's queue its share of the chunks: a range without gaps."""
    atomic_store(control.ctypes.data + 8 * DONE, 0)
    for thread in range(threads):
        atomic_store(_queue(control, thread), work << CHUNK_BITS | thread * chunks // threads)


@njit
def published_work(control, thread):
    return atomic_load(_queue(control, thread)) >> CHUNK_BITS


@njit
def take_chunk(control, owner):
    """Take the next chunk from a thread's queue: the work and the chunk, which may lie beyond the queue's share."""
    taken = atomic_add(_queue(control, owner), 1)
    return taken >> CHUNK_BITS, taken & ((1 << CHUNK_BITS) - 1)


@njit
def count_done(control, chunks):
    atomic_add(control.ctypes.data + 8 * DONE, chunks)


@njit
def wait_until_done(control, chunks):
    times = 0
    while atomic_load(control.ctypes.data + 8 * DONE) < chunks:
        times += 1
        wait_a_moment(times)


@njit
def end_sharing(control, threads):
    """Tell the helpers that no more work follows."""
    for thread in range(threads):
        atomic_store(_queue(control, thread), OVER << CHUNK_BITS)
