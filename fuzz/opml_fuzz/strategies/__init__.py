"""Hypothesis strategies for cases: they generate and shrink machine states, instructions, witnesses, programs, games, models and
training.

They are for the tests of an implementation, of whatever kind, that is asked from Python. Each strategy favours edge cases, and shrinks
towards what a person would write: the pc at the entry, few registers with round values, small immediates, one edit in a witness, single
acts left out of a game.

*Source*: MacIver, Donaldson, "Test-Case Reduction via Test-Case Generation: Insights from the Hypothesis Reducer" (2020).
"""

from opml_fuzz.strategies.arithmetic import binary32_operations, binary32_patterns
from opml_fuzz.strategies.games import games
from opml_fuzz.strategies.instructions import immediates, instructions, words
from opml_fuzz.strategies.models import models, operations, stages
from opml_fuzz.strategies.numbers import addresses, numbers
from opml_fuzz.strategies.programs import programs
from opml_fuzz.strategies.states import states, steps
from opml_fuzz.strategies.training import training_operations, training_requests, training_stages, training_tapes
from opml_fuzz.strategies.witnesses import witnesses, wrong_witnesses

__all__ = [
    "addresses",
    "binary32_operations",
    "binary32_patterns",
    "games",
    "immediates",
    "instructions",
    "models",
    "numbers",
    "operations",
    "programs",
    "stages",
    "states",
    "steps",
    "training_operations",
    "training_requests",
    "training_stages",
    "training_tapes",
    "witnesses",
    "words",
    "wrong_witnesses",
]
