"""Places that are not as usual: no home, no space, no permission, damaged caches, outputs that are no files, too few addresses."""

import errno
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest
from min_model import write_source
from opml_fuzz.commands import fuzz

from opml_min import cache_folder as cache
from opml_min import cli
from opml_min.cli import main
from opml_min.cli.compiling import NOTICE
from opml_min.machine import native
from opml_min.model import resolve
from opml_min.model.errors import WriteFailed
from opml_min.model.files import atomic, file_memo, sealed
from opml_min.model.files.atomic import check_writable, whole, written_whole
from opml_min.model.native import kernel_cache
from opml_min.model.resolve import BUILT_IN

NOBODY = 65_534
GIB = 1 << 30
IMAGE = Path(sys.modules[main.__module__].__file__ or "").parents[1] / "embedded" / BUILT_IN["embedded"][1]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkpoint; the cache is elsewhere, and empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    return write_source(tmp_path / "work")


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    if os.getuid() != 0:
        pytest.skip("only root can become another user, who may not do everything")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def started(*arguments: object, prelude: str = "", limit: int | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs `opml` in a process of its own."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    script = f"{prelude}\nimport sys\nfrom opml_min.cli import main\nsys.exit(main({[*map(str, arguments)]!a}))"
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME") or not prelude}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, env={**kept, **environment}, preexec_fn=restrict, check=False)


# Home and cache ----------------------------------------------------------------------------------------------------------------------

WITHOUT_ENTRY = "import pwd\ndef none(uid): raise KeyError(uid)\npwd.getpwuid = none"


def test_no_home_and_no_entry_in_the_password_file() -> None:
    done = started("run", "--device", "vm", "--max-tokens", 1, prelude=WITHOUT_ENTRY)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


def test_what_needs_a_cache_names_its_variable(homeless: None, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "XDG_CACHE_HOME" in refused("run", write_source(tmp_path))
    assert cache.kept(cache.cache_folder() / "x") is None
    cache.keep(cache.cache_folder() / "x", b"nowhere")


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: Callable[..., str]) -> None:
    source = write_source(tmp_path)
    (tmp_path / "home").mkdir(mode=0o500)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in [tmp_path, *tmp_path.parents[:3]]:
        folder.chmod(0o755)
    with as_ordinary_user():
        assert "Permission denied; XDG_CACHE_HOME" in refused("run", source)
        assert not kernel_cache.are_kernels_compiled() or list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut in its hash": lambda data: data[:20],
    "zeros": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


def native_function() -> Any:
    def doubled(x: int) -> int:
        return 2 * x

    return kernel_cache.compiled(doubled)  # type: ignore[arg-type]  # any function will do


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_kernel_is_compiled_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "kernel_folder", lambda *_: tmp_path / "kernels")
    compiled = list[bool]()
    monkeypatch.setattr(kernel_cache, "observers", [compiled.append])
    assert native_function()(21) == 42
    assert native_function()(21) == 42
    assert compiled == [True, False]  # once, and then it was loaded
    (entry,) = (tmp_path / "kernels").iterdir()
    entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    assert native_function()(21) == 42
    assert native_function()(21) == 42
    assert compiled == [True, False] * 2


def test_kernels_without_a_cache_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernel_cache, "kernel_folder", lambda *_: tmp_path / "file" / "kernels")
    assert native_function()(21) == 42
    assert not kernel_cache.are_kernels_compiled()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_machine_code_is_compiled_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "KEEP_FROM_SECONDS", -1.0)
    written = list[int]()

    def text() -> str:
        written.append(1)
        return "define i64 @answer() {\n  ret i64 42\n}"

    def answer() -> int:
        code = native.load("x", text)  # must outlive the call
        return int(code.function("answer", native.ctypes.c_int64)())

    assert [answer(), answer(), len(written)] == [42, 42, 1]
    (entry,) = (tmp_path / "opml" / "code").iterdir()
    entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    assert native.load_cached("x") is None
    assert not entry.exists()
    assert [answer(), answer(), len(written)] == [42, 42, 2]


@pytest.mark.parametrize("damage", ["empty", "cut"])
def test_a_damaged_fact_about_a_file_is_found_out_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_memo, "LARGE_BYTES", 0)
    monkeypatch.setattr(file_memo, "TICK_SECONDS", -1)
    path = tmp_path / "file"
    path.write_bytes(b"contents")
    identity = file_memo.Identity.of(path)
    facts = iter([b"a" * 32, b"b" * 32])
    known = [file_memo.remembered("hash", path, identity, lambda: next(facts), 32) for _ in range(2)]
    (entry,) = (tmp_path / "cache" / "opml" / "known").iterdir()
    entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    known += [file_memo.remembered("hash", path, identity, lambda: next(facts), 32) for _ in range(2)]
    assert known == [b"a" * 32] * 2 + [b"b" * 32] * 2


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("of", ["*.opml", "*.sha256"])
def test_a_damaged_image_is_built_again(damage: str, of: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[Path]()
    build = resolve.build_source
    monkeypatch.setattr(resolve, "build_source", lambda *given, **how: built.append(given[2]) or build(*given, **how))
    first = resolve.resolve(str(source)).image.path.read_bytes()
    assert resolve.resolve(str(source)).image.path.read_bytes() == first
    assert len(built) == 1
    (entry,) = (tmp_path / "cache" / "opml").glob(of)
    entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    assert [resolve.resolve(str(source)).image.path.read_bytes() for _ in range(2)] == [first] * 2
    assert len(built) == 2


def test_a_large_image_that_nobody_touched_is_not_read_again(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_memo, "LARGE_BYTES", 0)
    monkeypatch.setattr(file_memo, "TICK_SECONDS", -1)
    resolve.resolve(str(source))
    resolve.resolve(str(source))
    with monkeypatch.context() as patch:
        patch.setattr(sealed, "_computed", lambda path: pytest.fail(f"{path} was read"))
        resolve.resolve(str(source))


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_under_the_cache_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        cache.keep(tmp_path / "kept", b"something")
    assert list(tmp_path.iterdir()) == []
    cache.keep(tmp_path / "kept", b"something")
    assert cache.kept(tmp_path / "kept") == b"something"


def test_two_writers_of_one_entry(tmp_path: Path) -> None:
    """Whoever reads meanwhile finds one of the two, whole."""
    contents, found = [b"a" * 100_000, b"b" * 100_000], set[bytes | None]()
    cache.keep(tmp_path / "kept", contents[0])
    writers = [threading.Thread(target=lambda one=one: [cache.keep(tmp_path / "kept", one) for _ in range(50)]) for one in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found.add(cache.kept(tmp_path / "kept"))
    assert found <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_compilation_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a line after a while."""
    monkeypatch.setattr("opml_min.cli.compiling.LOG_SECONDS", 0.01)

    def execute(options: Any) -> int:
        kernel_cache.observers[0](True)
        time.sleep(0.3)
        kernel_cache.observers[0](False)
        return 0

    from opml_min.cli.compiling import announces_compilation

    parsed = SimpleNamespace(parse_args=lambda given: SimpleNamespace(execute=announces_compilation(execute)))
    monkeypatch.setattr(cli, "_parser", lambda: parsed)
    assert main([]) == 0
    assert capsys.readouterr().err.startswith(f"opml: {NOTICE}: 0 s\n")
    assert kernel_cache.observers == []


# Inputs ------------------------------------------------------------------------------------------------------------------------------

LONG = "Once upon a time there was a little girl. " * 7


def test_a_path_that_is_too_long(tmp_path: Path, source: Path, refused: Callable[..., str]) -> None:
    text = tmp_path / "text"
    text.touch()
    for arguments in (
        ["run", LONG],
        ["model", "show", LONG],
        ["model", "build", LONG, "-o", tmp_path / "image"],
        ["model", "build", source, "-o", tmp_path / LONG],
        ["demo", "--model", LONG],
        ["eval", LONG, text],
        ["eval", "embedded", LONG],
        ["verify", LONG],
        ["run", "--save", tmp_path / LONG],
        ["run", "--tokenizer", LONG, source],
        ["run", "mnist", "--input", LONG],
    ):
        line = refused(*arguments)
        assert "File name too long" in line or "there is no" in line, line
    refused("run", "--replays", LONG, main=fuzz.main)
    refused("replay", LONG, main=fuzz.main)


def test_a_saved_run_whose_model_has_a_long_name_or_is_a_pipe(tmp_path: Path, refused: Callable[..., str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for model in (LONG, str(tmp_path / "pipe"), os.devnull):
        fields = {"format": "opml run 1", "model": model, "tokenizer": None, "arithmetic": "fixed", "stages": 1, "request": ""}
        saved = tmp_path / "saved.json"
        saved.write_text(repr({**fields, "model_root": "00" * 32, "run_hash": "00" * 32}).replace("'", '"').replace("None", "null"))
        refused("verify", saved)


def test_a_pipe_is_no_model(tmp_path: Path, source: Path, refused: Callable[..., str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refused("run", tmp_path / "pipe")
    assert "neither a file nor a folder" in refused("run", source, "--tokenizer", tmp_path / "pipe")
    assert "neither a file nor a folder" in refused("model", "build", tmp_path / "pipe", "-o", tmp_path / "image")


def test_a_place_that_this_user_may_not_look_at(tmp_path: Path, source: Path, refused: Callable[..., str]) -> None:
    for folder in [tmp_path, *tmp_path.parents[:3]]:
        folder.chmod(0o755)
    text, locked = tmp_path / "text", tmp_path / "locked"
    text.touch()
    locked.mkdir(mode=0o700)
    shutil.copy(source, locked / "tiny.bin")
    with as_ordinary_user():
        for arguments in (
            ["run", locked / "tiny.bin"],
            ["model", "show", locked / "tiny.bin"],
            ["model", "build", locked / "tiny.bin", "-o", tmp_path / "image"],
            ["demo", "--model", locked / "tiny.bin"],
            ["eval", locked / "tiny.bin", text],
            ["verify", locked / "run"],
            ["run", "--save", locked / "run"],
            ["run", source, "--tokenizer", locked / "tokenizer"],
        ):
            assert "Permission denied" in refused(*arguments)
        refused("run", "--replays", locked / "replays", main=fuzz.main)


# Outputs -----------------------------------------------------------------------------------------------------------------------------


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    check_writable(pipe)
    with written_whole(pipe, also_into=True) as file:
        file.write(b"a run")
    reader.join()
    assert received == [b"a run"]
    assert pipe.is_fifo()


def test_a_device_is_written_into_and_stays(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("this user or file system cannot make a device")
    with written_whole(device, also_into=True) as file:
        file.write(b"a run")
    assert device.is_char_device()


def test_an_image_goes_into_no_pipe(tmp_path: Path, source: Path, refused: Callable[..., str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused("model", "build", source, "-o", tmp_path / "pipe")
    assert "not a regular file" in refused("model", "random", "--shape", "tiny", "-o", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_replaced(exists: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"before")
    link.symlink_to(target)
    check_writable(link)
    with written_whole(link) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(WriteFailed):
        check_writable(tmp_path / "a")


def test_the_standard_output_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    with written_whole(Path("/dev/stdout"), also_into=True) as file:
        file.write(b"a run")
    os.write(1, b" and more")
    assert capfd.readouterr().out == "a run and more"


def test_an_output_that_is_an_input(tmp_path: Path, source: Path, refused: Callable[..., str]) -> None:
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "same")
    for output in (source, tmp_path / "link", tmp_path / "same", source.with_name("tok300.bin")):
        assert "read by this command" in refused("model", "build", source, "-o", output)
        assert "read by this command" in refused("run", source, "--save", output)
    image = tmp_path / "image.opml"
    shutil.copy(IMAGE, image)
    assert "read by this command" in refused("run", image, "--save", image)
    assert source.read_bytes() == before
    assert image.read_bytes() == IMAGE.read_bytes()


def test_a_name_of_255_characters(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    check_writable(path)
    with written_whole(path) as file:
        file.write(b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("40 requested and 8 written")])
def test_a_full_disk_is_named(error: OSError, tmp_path: Path) -> None:
    """numpy's error has no number."""
    with pytest.raises(WriteFailed, match=r"No space|is the disk full"), whole(tmp_path / "x"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_temporary_file(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(options: Any) -> int:
        with written_whole(tmp_path / "image") as file:
            file.write(b"half")
            assert len(list(tmp_path.iterdir())) == 1
            os.kill(os.getpid(), number)
            time.sleep(20)
        return 0

    monkeypatch.setattr(cli, "_parser", lambda: SimpleNamespace(parse_args=lambda given: SimpleNamespace(execute=execute)))
    assert main([]) == 128 + number
    assert list(tmp_path.iterdir()) == []


# Settings of the process -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "command"), [(8 * GIB, "run"), (GIB // 8, "run"), (8 * GIB, "verify"), (8 * GIB, "model show embedded"), (8 * GIB, "demo")]
)
def test_too_few_addresses(limit: int, command: str, tmp_path: Path) -> None:
    arguments = command.split()
    if command == "verify":
        arguments.append(str(tmp_path / "run.json"))
        assert main(["run", "--device", "vm", "--max-tokens", "1", "--save", arguments[1]]) == 0
    done = started(*arguments, limit=limit)
    assert done.returncode == 2
    assert b"ulimit -v" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_numba_told_to_compile_nothing() -> None:
    done = started("run", "--max-tokens", 1, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 2
    assert done.stderr == b"opml: NUMBA_DISABLE_JIT switches native code off; unset it, or use the machine (--device vm)\n"


def test_a_locale_without_unicode(tmp_path: Path) -> None:
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    saved = tmp_path / "run.json"
    done = started("run", "--device", "vm", "--max-tokens", 1, "--prompt", "\udcc3\udca9", "--save", saved, **locale)  # é, as it arrives
    assert (done.returncode, done.stderr) == (0, b"")
    assert saved.is_file()


def test_the_folder_of_temporary_files_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with written_whole(tmp_path / "x") as file:
        file.write(b"x")
    assert (tmp_path / "x").read_bytes() == b"x"
    assert numba.config.DISABLE_JIT == 0
    assert atomic.TEMPORARY_NAME < 64
