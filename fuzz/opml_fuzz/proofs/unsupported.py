"""What cannot be run on symbols. It proves nothing: a statement that comes to it is neither proved nor refuted."""

from typing import Any


class Unsupported(Exception):
    """Code does something for which symbols have no rule. model: how it comes to that, if z3 knows"""

    model: Any = None
