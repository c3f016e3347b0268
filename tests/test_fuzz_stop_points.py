"""The translated machine stops after any number of steps in the exact state: at random places, it agrees with the interpreter and, on
programs that are short enough for it, with the specification."""

from random import Random

import pytest
from attrs import evolve
from opml_fuzz.engines.opml_min import interpreted, translated
from opml_fuzz.engines.specification import SpecProgram
from opml_fuzz.machine.case import Program
from opml_fuzz.machine.instructions import COUNTER
from opml_fuzz.machine.programs import loop

PROGRAMS = 20
STOPS = 100  # per program
STEPS = 600  # few, because the specification executes them one by one
LONG_STEPS = 20_000


def program_that_lasts(rng: Random, steps: int, iterations: int) -> Program:
    """Draws a random loop that is still running before its step of this number."""
    while True:
        program = loop(rng)
        x = list(program.start.x)
        x[COUNTER] = iterations
        start = evolve(program.start, x=tuple(x))
        before, after, *_ = interpreted().run(start, (steps - 1, steps))
        if before != after:
            return evolve(program, start=start)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_stop_points(seed: int) -> None:
    rng = Random(seed)
    start = program_that_lasts(rng, STEPS, 200).start
    stops = tuple(sorted(rng.sample(range(1, STEPS + 1), STOPS)))
    expected = SpecProgram().run(start, stops)
    assert len(set(expected[:STOPS])) == STOPS
    assert interpreted().run(start, stops) == expected
    assert translated().run(start, stops) == expected


@pytest.mark.parametrize("seed", range(4))
def test_stop_points_of_long_loops(seed: int) -> None:
    """The loops are long enough for iterations without checks; each stop is reached from the start and from the stop before."""
    rng = Random(-1 - seed)
    start = program_that_lasts(rng, LONG_STEPS, LONG_STEPS).start
    stops = tuple(sorted(rng.sample(range(1, LONG_STEPS + 1), STOPS)))
    expected = interpreted().run(start, stops)
    assert len(set(expected[:STOPS])) == STOPS
    machine = translated()
    assert machine.run(start, stops) == expected
    for stop, hashed in zip(stops, expected[:STOPS], strict=True):
        assert machine.run(start, (stop,))[0] == hashed
