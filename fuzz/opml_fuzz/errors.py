"""What the commands can go wrong with."""


class FuzzError(Exception):
    """The root of them all."""


class InputError(FuzzError):
    """What the user handed over is unusable: one line, exit code 2."""
