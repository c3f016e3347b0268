"""Mutants that change no answer: each is a text that differs and a program that does not, with the reason."""

from attrs import frozen


@frozen
class Equivalent:
    """A mutant that nobody can kill."""

    module: str
    name: str
    reason: str


EQUIVALENT: tuple[Equivalent, ...] = ()
