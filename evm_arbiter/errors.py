"""The errors of the chain, below everything that raises them."""


class ArbiterError(Exception):
    """The root of all errors of this package."""


class InvalidTransaction(ArbiterError):
    """A transaction that no block may hold: what its data costs at least exceeds its gas limit."""
