"""The specification's court and the contract in the embedded EVM, for random acts on both."""

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.sequences import play_sequence


class BothCourts:
    """Two fresh courts for each sequence of acts. game: other bytecode than the contract's"""

    def __init__(self, game: Artefact | None = None) -> None:
        self.games, self._game = 0, game

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        report = play_sequence(seed, acts, self._game)
        self.games += report.games
        said = (f"{acts} acts answered alike",) * 2 if report.difference is None else report.difference
        return {name: [answer] for name, answer in zip(("spec, court", "contract, court"), said, strict=True)}
