"""Tells a match about a training."""

from collections.abc import Callable

from opml_min.cli.demo.play import Match
from opml_min.cli.demo.story import Story
from opml_min.cli.demo.training_scene import TrainingScene

INTRODUCTION = """\
A server trains a model off chain, in exact integers, and posts only a sealed hash of the whole training, with a bond. Anybody who repeats
the training and gets another hash can open a dispute tree about the claim, also with a bond. At each node the server must show hashes in
between, and anybody can go on at a part that looks wrong: first down to one stage (one operation of one update), then to one machine
instruction. A contract executes that instruction. The claim falls at the first node that the server fails. Each line is a transaction.
"""


class TrainingStory(Story):
    """A story that says what is trained, and under which root the trained model can be registered."""

    introduction = INTRODUCTION

    def __init__(self, write: Callable[[str], None], training: TrainingScene) -> None:
        super().__init__(write, lambda tokens: None)
        self._training = training

    def _tell_run(self, match: Match) -> None:
        self._write(f"The training  {self._training.description}")
        if match.setup.scene == self._training.scene:
            first, last = (self._training.loss(match.setup.honest, update) for update in (0, self._training.updates - 1))
            self._write(f"The loss      {first:.2f} nats per target in the first update, {last:.2f} in the last, computed honestly")

    def end(self, match: Match, seconds: float) -> None:
        super().end(match, seconds)
        if match.setup.scene == self._training.scene:
            root = match.setup.honest.final_state_root().hex()
            self._write(f"The trained weights have the state root 0x{root}: under it they can be registered as a model")
