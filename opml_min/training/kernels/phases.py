"""The phases of ops, one after the other, computed by all threads in one compiled call each.

A kernel is called by its address, so that it is compiled on its own. Thread 0 leads: it publishes a phase, computes pieces of it, and goes
on when all of them are done. The others help with what is published (`work_queues`). A thread takes its own share of the pieces first. As
that is nearly the same share of the rows in every phase, it finds in its processor's cache much of what it wrote before.

*Source*: the calling convention of the kernels.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int64s
from opml_min.model.native.kernels.atomic import wait_a_moment
from opml_min.model.native.kernels.work_queues import (
    NOTHING,
    OVER,
    count_done,
    end_sharing,
    publish,
    published_work,
    take_chunk,
    wait_until_done,
)
from opml_min.training.kernels.compiled import compiled_for_training

ARGUMENTS = (types.int64, types.Array(types.int64, 1, "C"), *[types.int64] * 4, types.Array(types.int64, 1, "C"))

# The columns of a table of phases: a kernel's address, its units, and the process addresses and lengths of `words` and `shared`.
KERNEL, UNITS, UNITS_AT_ONCE, WORDS_AT, WORDS_LENGTH, SHARED_AT, SHARED_LENGTH, COLUMNS = range(8)
RAISED = 1  # place in the control array, behind DONE: whether a kernel has raised an exception


@intrinsic
def _call(typing: Any, kernel: Any, base: Any, words: Any, first: Any, end: Any, chunk: Any, scratch: Any, shared: Any) -> Any:
    """Call the kernel at an address. Return whether it has raised an exception."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        pointer = convention.get_function_type(types.none, ARGUMENTS).as_pointer()
        function = builder.inttoptr(arguments[0], pointer)
        return convention.call_function(builder, function, types.none, ARGUMENTS, arguments[1:])[0].is_error

    return types.boolean(types.int64, *ARGUMENTS), code


def address_of(kernel: Any) -> int:
    """Return where the code of a kernel lies; it is compiled or loaded if need be."""
    kernel.compile(ARGUMENTS)
    result = kernel.overloads[ARGUMENTS]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


@njit
def _chunks(phase):
    return (phase[UNITS] + phase[UNITS_AT_ONCE] - 1) // phase[UNITS_AT_ONCE]


@njit
def _compute_chunk(base, phase, chunk, scratch, control):
    first = chunk * phase[UNITS_AT_ONCE]
    end = min(first + phase[UNITS_AT_ONCE], phase[UNITS])
    words, shared = int64s(0, phase[WORDS_AT], phase[WORDS_LENGTH]), int64s(0, phase[SHARED_AT], phase[SHARED_LENGTH])
    if _call(phase[KERNEL], base, words, first, end, chunk, scratch, shared):
        control[RAISED] = 1


@njit
def _take_chunks(base, phases, scratch, control, thread, threads):
    """Compute chunks of the published phase until none is left."""
    finished = 0
    for distance in range(threads):
        owner = (thread + distance) % threads
        while True:
            work, chunk = take_chunk(control, owner)
            if work in (NOTHING, OVER):
                return
            phase = phases[work - 1]
            if chunk >= (owner + 1) * _chunks(phase) // threads:
                break
            _compute_chunk(base, phase, chunk, scratch, control)
            finished += 1
        if finished > 0:  # reported once per queue, because every report moves a cache line between the threads' processors
            count_done(control, finished)
            finished = 0


@compiled_for_training
def run_phases(base, phases, first, end, scratch, control, thread, threads):
    """Compute the phases [first, end) of a table. A helper (thread > 0) returns when the leader does."""
    if thread > 0:
        last, times = 0, 0
        while last != OVER:
            work = published_work(control, thread)
            if work != last:
                _take_chunks(base, phases, scratch, control, thread, threads)
                last, times = work, 0
            else:
                times += 1
                wait_a_moment(times)
        return
    for index in range(first, end):
        chunks = _chunks(phases[index])
        if threads == 1 or chunks == 1:
            for chunk in range(chunks):
                _compute_chunk(base, phases[index], chunk, scratch, control)
        else:
            publish(control, index + 1, chunks, threads)
            _take_chunks(base, phases, scratch, control, np.int64(0), threads)
            wait_until_done(control, chunks)
    end_sharing(control, threads)
