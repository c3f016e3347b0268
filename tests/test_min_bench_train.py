"""`opml bench train` on a tiny shape: every figure is there, each update is one of the run, and a wrong peer is recognised."""

import sys
from importlib.util import find_spec

import pytest
from min_model import write_source

from opml_min.cli.bench import train
from opml_min.cli.bench.peer import Peer
from opml_min.cli.errors import InputError
from opml_min.model.resolve import resolve


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {"ROUNDS": 1, "SEQUENCES": 2, "PERIOD": 8, "TEXT_TOKENS": 40}.items():
        monkeypatch.setattr(train, name, value)
    return resolve(str(write_source(tmp_path, shape=(32, 64, 1, 4, 2, 300, 272))))


def test_without_a_peer(model, monkeypatch):
    runs = []
    monkeypatch.setattr(train, "TrainingRun", lambda *given, **named: runs.append(train_run(*given, **named)) or runs[-1])
    train_run = sys.modules["opml_min.training.run"].TrainingRun
    measured = {row.name: row for row in train.rows(model, 2, None)}
    assert list(measured) == ["update of 16 tokens", "update of 16 tokens, 1 thread", "run hash after an update"]
    assert all(row.value > 0 and row.ratio is None for row in measured.values())
    assert [run.stage for run in runs] == [2 * len(run.ops) for run in runs]
    assert runs[0].run_hash() == runs[1].run_hash()


@pytest.mark.skipif(find_spec("torch") is not None, reason="this interpreter has torch")
def test_an_interpreter_without_torch_is_no_peer():
    peer = Peer(sys.executable, "torch", train.PEER, ["[]"])
    with pytest.raises(InputError, match="torch"):
        peer.measure(1)
    peer.end()
