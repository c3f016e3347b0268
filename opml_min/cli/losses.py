"""What fixed point has lost, for people on stderr and for scripts in the JSON object."""

import sys
from typing import Any

from attrs import asdict

from opml_min.model.quality.losses import Losses


def print_losses(losses: Losses | None) -> None:
    for warning in [] if losses is None else losses.warnings:
        print(f"opml: {warning}", file=sys.stderr)


def shown_losses(losses: Losses | None) -> dict[str, Any]:
    """The fields of the JSON object; they are null if nothing was counted."""
    return {"saturated": None, "lost": None, "notable": None} if losses is None else asdict(losses)
