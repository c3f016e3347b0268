"""The error of a command line that cannot be executed."""


class InputError(Exception):
    """An argument or a file is of no use to the command; the message is one line."""
