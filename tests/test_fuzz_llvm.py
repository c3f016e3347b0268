"""The interpreter of LLVM IR that the proofs use, against LLVM: the same results for the translator's text, on random inputs."""

import ctypes
import random
from collections.abc import Callable
from typing import Any

import pytest
from opml_fuzz.statements.iterations import LOOPS, loop_of
from opml_fuzz.statements.llvm import Cells, Interpreter, Pointer, Undefined, blocks_of, functions_of, unsigned
from opml_fuzz.statements.translator import NOWHERE

from opml_min.machine import native
from opml_min.machine.translator.emit import BasicBlock
from opml_min.machine.translator.loops import function_ir
from opml_min.machine.translator.operations import ARITHMETIC, CONDITIONS

EDGES = (0, 1, 2, 31, 32, 63, 64, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)


def numbers(source: random.Random) -> int:
    return source.choice(EDGES) if source.random() < 0.5 else source.getrandbits(64)


def text_of(lines: list[str], result: str) -> str:
    return "\n".join(["define i64 @f(i64 %a, i64 %b) {", *lines, f"ret i64 {result}", "}"])


def compiled(text: str) -> tuple[Callable[..., Any], native.Code]:
    code = native._link(native.compile_object(text, ""))
    return code.function("f", ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64), code


@pytest.mark.parametrize("name", ARITHMETIC)
def test_templates(name: str) -> None:
    block = BasicBlock(NOWHERE, 0, 1)
    block.arithmetic(name, 3, "%a", "%b")
    text = text_of(block.lines, block.written[3])
    function, code = compiled(text)
    source = random.Random(name)
    for a, b in [*((a, b) for a in EDGES for b in EDGES), *((numbers(source), numbers(source)) for _ in range(200))]:
        assert function(a, b) == unsigned(Interpreter({}, text).functions["f"](a, b)), (a, b)
    del code


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions(name: str) -> None:
    text = text_of([f"%t = icmp {CONDITIONS[name]} i64 %a, %b", "%d = select i1 %t, i64 7, i64 9"], "%d")
    function, code = compiled(text)
    for a in EDGES:
        for b in EDGES:
            assert function(a, b) == Interpreter({}, text).functions["f"](a, b)
    del code


@pytest.mark.parametrize("operation", ["sext", "zext"])
@pytest.mark.parametrize("width", [1, 8, 32])
def test_conversions(operation: str, width: int) -> None:
    text = text_of([f"%t = trunc i64 %a to i{width}", f"%d = {operation} i{width} %t to i64"], "%d")
    function, code = compiled(text)
    for a in EDGES:
        assert function(a, 0) == unsigned(Interpreter({}, text).functions["f"](a, 0))
    del code


class Buffer:
    """Memory of the process, as a place."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = ctypes.create_string_buffer(size)

    def load(self, offset: int, width: int) -> int:
        return int.from_bytes(self.bytes.raw[offset : offset + width // 8], "little")

    def store(self, offset: int, width: int, value: int) -> None:
        self.bytes[offset : offset + width // 8] = (value % (1 << width)).to_bytes(width // 8, "little")


@pytest.mark.parametrize("name", LOOPS)
def test_functions_of_loops(name: str) -> None:
    """Whole functions, with phi, stores and counts: the same registers and memory."""
    loop = loop_of(name)
    text = function_ir(loop)
    exported = text.replace("define internal", "define")
    code = native._link(native.compile_object(exported, ""))
    pointers, words = [ctypes.c_void_p] * 2, [ctypes.c_uint64] * (1 + len(loop.read_first()))
    function = code.function("iterations0", ctypes.c_uint64, *pointers, *words)
    source = random.Random(name)
    for count in (1, 2, 3, 9, 17):
        here, there = Buffer(4096), Buffer(4096)
        here.bytes.raw = there.bytes.raw = source.randbytes(4096)
        registers = [source.randrange(1000, 3000) for _ in loop.read_first()]
        results, cells = (ctypes.c_uint64 * 40)(), Cells()
        executed = function(ctypes.addressof(here.bytes), ctypes.addressof(results), count, *registers)
        interpreter = Interpreter({}, text)
        assert interpreter.functions["iterations0"](Pointer(there), Pointer(cells), count, *registers) == executed
        assert [unsigned(cells.values[8 * place]) for place in range(len(loop.written()))] == results[: len(loop.written())]
        assert here.bytes.raw == there.bytes.raw


# What is undefined ends the run ----------------------------------------------------------------------------------------------------

POINTERS = {"%p": Pointer(Buffer(16)), "%odd": Pointer(Buffer(16), 1)}


@pytest.mark.parametrize(
    "line",
    [
        *("shl i64 %a, 64", "lshr i32 %a, 32", "udiv i64 %a, 0", "srem i64 %a, 0", "sdiv i64 -9223372036854775808, -1"),
        *("add nuw i64 -1, 1", "add nuw i32 -1, 1", "sub nuw i64 0, 1", "mul nuw i32 65536, 65536"),
        *("load i64, ptr %odd", "load i32, ptr %odd", "load i64, ptr %odd, align 4", "load i16, ptr %odd, align 2"),
        *("getelementptr inbounds nuw i8, ptr %p, i64 17", "getelementptr inbounds nuw i8, ptr %p, i64 -1"),
        *("getelementptr inbounds nuw i64, ptr %p, i64 2305843009213693952", "getelementptr inbounds nuw i8, ptr %odd, i64 16"),
    ],
)
def test_undefined(line: str) -> None:
    with pytest.raises(Undefined):
        Interpreter().run([f"%d = {line}", "ret void"], {"%a": 5, **POINTERS})


def test_a_store_must_be_aligned() -> None:
    for line in ("store i64 %a, ptr %odd", "store i16 %a, ptr %odd, align 2"):
        with pytest.raises(Undefined):
            Interpreter().run([line, "ret void"], {"%a": 5, **POINTERS})


@pytest.mark.parametrize(
    "line",
    [
        *("add nuw i32 %a, 1", "sub nuw i64 %a, 5", "mul nuw i32 65535, 65535", "load i64, ptr %odd, align 1", "load i8, ptr %odd"),
        *("load i64, ptr %p", "getelementptr inbounds nuw i8, ptr %p, i64 16", "getelementptr i8, ptr %p, i64 -1"),
    ],
)
def test_what_is_defined_goes_on(line: str) -> None:
    assert Interpreter().run([f"%d = {line}", "ret void"], {"%a": 5, **POINTERS}).label == "ret"


UNKNOWN = (
    *("fadd double %a, %b", "add nsw i64 %a, 1", "add nuw nsw i64 %a, 1", "shl nuw i64 %a, 1", "lshr exact i64 %a, 1"),
    *("or disjoint i64 %a, 1", "zext nneg i32 %a to i64", "trunc nuw i64 %a to i32", "icmp samesign ult i64 %a, %b"),
    *("load volatile i64, ptr %p", "load i64, ptr %p, align 8, !range !0", "getelementptr inbounds i8, ptr %p, i64 1"),
    *("getelementptr nuw i8, ptr %p, i64 1", "alloca i64, align 8", "select fast i1 %a, i64 1, i64 2"),
)


def test_what_is_not_understood_is_an_error() -> None:
    for line in (*(f"%d = {one}" for one in UNKNOWN), "store volatile i64 %a, ptr %p", "unreachable"):
        with pytest.raises(ValueError, match=r"not understood|does not end"):
            Interpreter().run([line], {"%a": 5, "%b": 5, **POINTERS})


def test_blocks_and_functions() -> None:
    assert blocks_of(["a:", "  ret void"]) == {"entry": [], "a": ["ret void"]}
    assert list(functions_of("define i64 @f(i64 %a) {\nret i64 %a\n}\n")) == ["f"]
