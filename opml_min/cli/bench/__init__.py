"""`opml bench`: the project's own measurements. Each is a module `bench_NAME` of this package with a function `rows`."""

import argparse
from importlib import import_module

from attrs import frozen

from opml_min.cli.arguments import Subparsers, add_json, add_model, available_threads, chosen_model, thread_count
from opml_min.cli.output import print_json

BENCHES = ("gas", "vm", "merkle", "dispute", "llama")


@frozen
class Row:
    """One measurement; a peer's where there is one on this machine, a limit where there is one to keep."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer_value if self.peer_value else None

    def holds(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def values(self) -> dict[str, str | float]:
        every: dict[str, str | float | None] = {
            "name": self.name, "value": self.value, "unit": self.unit,
            "peer": self.peer, "peer_value": self.peer_value, "ratio": self.ratio, "limit": self.limit,
        }  # fmt: skip
        return {key: value for key, value in every.items() if value is not None}


def register(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser("bench", help="measure")
    parser.add_argument("what", choices=BENCHES)
    add_model(parser)
    parser.add_argument("--threads", type=thread_count, default=available_threads(), help="of llama (default: %(default)s)")
    parser.add_argument("--peer-python", metavar="PATH", help="of llama: an interpreter that has llama_cpp, to measure against")
    add_json(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    module = import_module(f"opml_min.cli.bench.{options.what}")
    rows: list[Row] = module.rows(chosen_model(options), options.threads, options.peer_python) if options.what == "llama" else module.rows()
    if options.json:
        print_json({"rows": [row.values() for row in rows]})
    else:
        for row in rows:
            against = "" if row.ratio is None else f"  {row.ratio:.2f} × {row.peer} ({row.peer_value:,.6g})"
            limit = "" if row.limit is None else f"  limit {row.limit:,.6g}{'' if row.holds() else ': EXCEEDED'}"
            print(f"{row.name:<32} {row.value:>14,.6g} {row.unit}{against}{limit}")
    return 0 if all(row.holds() for row in rows) else 1
