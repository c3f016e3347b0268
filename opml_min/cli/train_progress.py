"""How far a training job has come: a line on a terminal, and now and then a line in a log."""

import sys
import time

from opml_min.cli.output import BAR_WIDTH
from opml_min.training.jobs.evidence import UpdateRecord

TERMINAL_SECONDS, LOG_SECONDS = 0.2, 60.0  # between two lines


class TrainingProgress:
    """Says on stderr how many updates are done, the loss, the speed, and the time that is left."""

    def __init__(self, done: int, total: int, examples_per_update: int, unit: str) -> None:
        self._done_before, self._total, self._examples, self._unit = done, total, examples_per_update, unit
        self._begin = self._last = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self.examples_per_second = 0.0

    def show(self, record: UpdateRecord) -> None:
        now = time.monotonic()
        seconds_per_update = (now - self._begin) / (record.update - self._done_before)
        self.examples_per_second = self._examples / max(seconds_per_update, 1e-9)
        if now - self._last < (TERMINAL_SECONDS if self._is_terminal else LOG_SECONDS):
            return
        self._last = now
        left = duration(seconds_per_update * (self._total - record.update))
        text = f"{record.update}/{self._total}  loss {record.loss:.4f}  {self.examples_per_second:,.0f} {self._unit}s/s  {left} left"
        if self._is_terminal:
            filled = record.update * BAR_WIDTH // self._total
            print(f"\r\033[K{'█' * filled}{'·' * (BAR_WIDTH - filled)} {text}", end="", file=sys.stderr, flush=True)
        else:
            print(f"opml: update {text}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
