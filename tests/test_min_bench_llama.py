"""`opml bench llama` on a tiny model: every figure is there, the run is as long as stated, and a wrong peer is recognised."""

import sys
from importlib.util import find_spec

import pytest
from min_model import write_source

from opml_min.cli.bench.llama import NEW_TOKENS, PEER, SHORT_PROMPT, _talkative_prompt, rows
from opml_min.cli.bench.peer import Peer
from opml_min.cli.errors import InputError
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import resolve
from opml_min.model.run import Run


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return resolve(str(write_source(tmp_path, shape=(32, 64, 1, 4, 2, 300, 272))))


def test_without_a_peer(model, monkeypatch):
    monkeypatch.setattr("opml_min.cli.bench.llama.ROUNDS", 1)
    measured = {row.name: row for row in rows(model, 2, None)}
    assert list(measured) == [
        "decode of 64 tokens", "prefill of 256 tokens", "decode of 64 tokens, 1 thread", "prefill of 256 tokens, 1 thread",
        "commitment to 64 tokens", "model root, once",
    ]  # fmt: skip
    assert all(row.value > 0 and row.ratio is None for row in measured.values())


def test_the_measured_run_is_not_cut_short_by_a_stop_token(model):
    prompt, text = _talkative_prompt(model)
    run = Run(model.image, TextRequest(prompt, NEW_TOKENS + 1).pack())
    run.run_all()
    assert len(prompt) == SHORT_PROMPT
    assert run.tokens()[:-1] == text
    assert len(text) == NEW_TOKENS


def test_a_peer_needs_a_gguf_file(model):
    with pytest.raises(InputError, match="GGUF"):
        rows(model, 1, sys.executable)


@pytest.mark.skipif(find_spec("llama_cpp") is not None, reason="this interpreter has llama_cpp")
def test_an_interpreter_without_llama_cpp_is_no_peer():
    peer = Peer(sys.executable, "llama_cpp", PEER, ["model.gguf", "[1]", "[1]", "[1]"])
    with pytest.raises(InputError, match="llama_cpp"):
        peer.measure(1)
    peer.end()
