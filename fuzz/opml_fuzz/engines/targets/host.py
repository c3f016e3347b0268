"""The process that speaks for a Python class or a shared library: `python -m opml_fuzz.engines.targets.host TARGET`.

It reads as many questions as have arrived, and writes their answers together. Whatever the class or the library prints goes to standard
error. A crash ends this process, and nothing else.

*Source*: `engines/README.md`.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from opml_fuzz.engines.targets.library import Library
from opml_fuzz.machine.target_question import HELLO, KINDS, PROTOCOL

READ = 1 << 20
Memory = dict[int, bytes]


def implementation(target: str) -> Any:
    """Opens the library, or makes an object of the class. Its methods are named after the questions that it knows."""
    kind, _, name = target.partition(":")
    if kind == "lib":
        return Library(name)
    module, _, class_name = name.partition(":")
    sys.path.insert(0, os.getcwd())
    return getattr(import_module(module), class_name)()


def memory_in(question: dict[str, Any]) -> Memory:
    return {int(address, 16): bytes.fromhex(data) for address, data in question["memory"].items()}


def read(value: Any) -> Any:
    """Reads what is given about acts: numbers, bytes, and the names of acts as text."""
    if isinstance(value, dict):
        return {name: each if name == "move" else read(each) for name, each in value.items()}
    if isinstance(value, list):
        return [read(each) for each in value]
    if isinstance(value, str):
        return int(value, 16) if value.startswith("0x") else bytes.fromhex(value)
    return value


def written(value: Any) -> Any:
    """Writes bytes in hex, wherever they are in what a method returns."""
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, dict):
        return {name: written(each) for name, each in value.items()}
    return [*map(written, value)] if isinstance(value, list | tuple) else value


def given(question: dict[str, Any]) -> tuple[Any, ...]:
    """Reads the arguments of the method that is named after the question."""
    match question["ask"]:
        case "execute":
            return (bytes.fromhex(question["witness"]),)
        case "step" | "witness":
            return bytes.fromhex(question["state"]), memory_in(question)
        case "root":
            return (memory_in(question),)
        case "run":
            return bytes.fromhex(question["state"]), memory_in(question), question["stops"]
        case "court":
            return read(question["parameters"]), read(question["acts"])
        case _:
            return memory_in(question), question["stage"]


def result(value: Any) -> dict[str, Any]:
    """Writes what a method returns: bytes, the number of an error, a list of hashes or of acts, or an exit code and a carry root."""
    if isinstance(value, bytes | bytearray):
        return {"answer": value.hex()}
    if isinstance(value, list):
        return {"answer": [{"error": each} if isinstance(each, int) else written(each) for each in value]}
    if isinstance(value, tuple):
        return {"answer": {"exit_code": value[0], "carry_root": value[1].hex()}}
    return {"error": value}


def answer(line: bytes, methods: dict[str, Callable[..., Any]]) -> bytes:
    """Answers one line; an exception is an answer, too."""
    question = json.loads(line)
    if question["ask"] == HELLO:
        said: dict[str, Any] = {"answer": {"protocol": PROTOCOL, "knows": list(methods)}}
    else:
        try:
            said = result(methods[question["ask"]](*given(question)))
        except Exception as error:
            said = {"failed": f"{type(error).__name__}: {error}"}
    return json.dumps({"id": question["id"], **said}).encode() + b"\n"


def main(target: str) -> None:
    """Answers until the input ends."""
    output = os.dup(1)
    os.dup2(2, 1)
    at_hand = implementation(target)
    methods = {kind: cast(Callable[..., Any], getattr(at_hand, kind)) for kind in KINDS if hasattr(at_hand, kind)}
    rest = b""
    while received := os.read(0, READ):
        *lines, rest = (rest + received).split(b"\n")
        answers = memoryview(b"".join(answer(line, methods) for line in lines))
        while answers:
            answers = answers[os.write(output, answers) :]


if __name__ == "__main__":
    main(sys.argv[1])
