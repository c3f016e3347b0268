"""The evidence of a job: one line for each update, with the run hash after it.

Lines are appended while the job goes on, so the last one may be cut off where the process was killed. It does not count then.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from opml_min.model.errors import WriteFailed
from opml_min.model.files.atomic import written_whole
from opml_min.model.strict_json import JsonError, object_of
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.loss import is_loss

MOST_LINE_BYTES = 200


@frozen
class UpdateRecord:
    """What is known of one update."""

    update: int  # how many updates are done after it
    run_hash: bytes
    loss: float  # nats per token or picture of its batch, for people

    def line(self) -> bytes:
        return json.dumps({"update": self.update, "run_hash": self.run_hash.hex(), "loss": round(self.loss, 6)}).encode() + b"\n"


def read_evidence(path: Path, updates: int) -> list[UpdateRecord]:
    """Read the lines of a job of so many updates, which may come from a stranger. They must be those of updates 1, 2, … ."""
    records: list[UpdateRecord] = []
    try:
        with path.open("rb") as file:
            while (line := file.readline(MOST_LINE_BYTES)).endswith(b"\n"):
                records.append(_record(path, len(records) + 1, line))
                if len(records) > updates:
                    raise JobError(f"{path} has more than the lines of {updates} updates")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    if len(line) == MOST_LINE_BYTES:
        raise JobError(f"{path}: line {len(records) + 1} is not that of an update, which has fewer than {MOST_LINE_BYTES} bytes")
    return records


def _record(path: Path, number: int, line: bytes) -> UpdateRecord:
    try:
        values = object_of(line, MOST_LINE_BYTES)
        record = UpdateRecord(values["update"], bytes.fromhex(values["run_hash"]), float(values["loss"]))
        if type(record.update) is not int or record.update != number or len(record.run_hash) != 32 or not is_loss(record.loss):
            raise ValueError
    except JsonError as error:
        raise JobError(f"{path}: line {number} {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise JobError(f"{path}: line {number} is not that of update {number}") from error
    return record


def rewrite_evidence(path: Path, records: Iterable[UpdateRecord]) -> None:
    """Keep these lines and no others."""
    with written_whole(path) as file:
        file.writelines(record.line() for record in records)


def append_evidence(path: Path, records: Iterable[UpdateRecord]) -> None:
    """Add lines, and return when they are on the disk."""
    try:
        with path.open("ab") as file:
            file.writelines(record.line() for record in records)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteFailed(f"cannot write {path}: {error.strerror}") from error
