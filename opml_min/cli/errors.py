"""What can be wrong with a command line."""


class InputError(Exception):
    """An argument or a file that a command cannot use; the message is one line."""
