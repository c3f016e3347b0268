"""Work in processes of its own: no piece sees what another or this process has done, and one that dies is told apart."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import z3
from opml_fuzz.commands import prove, proving
from opml_fuzz.proofs.by_name import prove_by_name
from opml_fuzz.proofs.fresh_processes import Lost, fresh_results
from opml_fuzz.proofs.verdict import Verdict

done: list[int] = []


def piece(number: int) -> tuple[list[int], int, int]:
    """Says what was done before, in which process, and which number z3 gives to a new term."""
    before = [*done]
    done.append(number)
    terms = [z3.BitVec(f"x{place}", 8) for place in range(number + 1)]
    time.sleep(0.1 * (number == 0))
    return before, os.getpid(), terms[0].get_id()


def test_pieces_see_nothing_of_one_another() -> None:
    done.append(-1)
    unseen = [z3.BitVec(f"unseen{place}", 8) for place in range(9)]
    with fresh_results(piece, range(5), 2, "z3") as results:
        before, processes, terms = zip(*results, strict=True)  # type: ignore[arg-type]
    assert (before, len({*processes, os.getpid()}), len(set(terms)), len(unseen)) == (5 * ([],), 6, 1, 9)


def dies(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        os._exit(3)
    return number


def test_a_process_that_dies_has_no_result() -> None:
    with fresh_results(dies, range(4), 2, "z3") as results:
        told = [str(one) if isinstance(one, Lost) else one for one in results]
    assert told == [0, "its process was ended by SIGKILL", "its process ended with exit code 3", 3]


def test_what_a_piece_raises_is_raised() -> None:
    with fresh_results(partial(divmod, 1), [1, 0], 1, "z3") as results:
        assert next(results) == (1, 0)
        with pytest.raises(ZeroDivisionError):
            next(results)


def blocked(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_only_the_first_process_hears_ctrl_c() -> None:
    """Also the first ones, which are started together with the fork server: the interpreter is new."""
    line = "from test_fuzz_fresh_processes import *; results = fresh_results(blocked, [0, 1], 1, 'z3'); print(*results.__enter__())"
    done = subprocess.run([sys.executable, "-c", line], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def sleeps(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)


def press(paths: list[Path]) -> None:
    """Presses Ctrl-C as soon as all pieces have begun."""
    while not all(path.exists() and path.read_text() for path in paths):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_leaving_the_block_ends_all_processes(tmp_path: Path) -> None:
    paths, handler = [tmp_path / "one", tmp_path / "other"], signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Thread(target=press, args=(paths,)).start()
        with pytest.raises(KeyboardInterrupt), fresh_results(sleeps, paths, 2, "z3") as results:
            next(results)
    finally:
        signal.signal(signal.SIGINT, handler)
    for path in paths:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def killed(name: str, keeps: bool, rechecks: bool) -> Verdict:
    if name == "money.share":
        os.kill(os.getpid(), signal.SIGKILL)
    return Verdict(name, "proved", 1.0)


def test_a_statement_whose_process_dies_is_not_proved(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "prove_by_name", killed)
    assert prove.main(["money.share", "money.ledger"]) == 1
    died, other, _, total, *_ = capsys.readouterr().out.splitlines()
    assert died.split()[0] == "error"
    assert died.endswith("its process was ended by SIGKILL")
    assert other.split()[0] == "proved"
    assert total == "1 of 2 proved. Not proved:"


def test_a_verdict_says_how_much_memory_its_own_process_had() -> None:
    with fresh_results(prove_by_name, ["money.share", "bytecode.add"], 1, prove_by_name.__module__) as results:
        small, large = results
    assert isinstance(small, Verdict)
    assert isinstance(large, Verdict)
    assert (small.result, large.result) == ("proved", "proved")
    assert 1 << 26 < small.peak_bytes < large.peak_bytes < 1 << 29
