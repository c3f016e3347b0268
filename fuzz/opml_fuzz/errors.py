"""Errors that end a command."""


class FuzzError(Exception):
    """The root of all errors in this part."""


class InputError(FuzzError):
    """The user handed over something unusable: one line on standard error, exit code 2."""
