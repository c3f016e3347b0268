"""An interpreter of LLVM IR text, for the instructions that the translator writes.

It runs on ints and on symbols alike. A value of type iN is any integer that is congruent to it mod 2^N, and the one bit of i1 is a
condition. Whatever LLVM leaves undefined ends the run: a shift by too much, a division without a result, a sum that the text says does not
overflow but does, an access at another address than its alignment says, a pointer outside of its place that the text says is inside. So a
proof about the text also shows that it is always defined. A word that is not known, as another flag, is an error.

Memory is a set of places (`Cells`, or whatever else can load and store), which begin where any alignment is met; a pointer is a place and
an offset in bytes.

*Source*: LLVM Language Reference.
"""

import re
from collections.abc import Callable, Mapping
from operator import add, and_, ge, gt, le, lt, mul, or_, sub, xor
from typing import Any

from attrs import field, frozen
from opml_spec.words import flag, quotient, remainder

DIRECT: dict[str, Callable[[Any, Any], Any]] = {"add": add, "sub": sub, "mul": mul, "and": and_, "or": or_, "xor": xor}
DIVISIONS: dict[str, Callable[..., Any]] = {"udiv": quotient, "urem": remainder, "sdiv": quotient, "srem": remainder}
COMPARISONS = {"lt": lt, "le": le, "gt": gt, "ge": ge}
ELEMENT_BYTES = {"i8": 1, "i64": 8, "ptr": 8}
UNWRAPPED = ("add", "sub", "mul")
"""The operations that may say that they do not overflow (`nuw`)."""


def unsigned(value: Any, width: int = 64) -> Any:
    """The number in `[0, 2^width)` that a value means."""
    return value % (1 << width)


def signed(value: Any, width: int = 64) -> Any:
    """The number in `[-2^(width-1), 2^(width-1))` that a value means."""
    half = 1 << (width - 1)
    low = value % (2 * half)
    return (low ^ half if hasattr(low, "__xor__") else (low + half) % (2 * half)) - half


class Undefined(Exception):
    """Raised where LLVM leaves the behaviour undefined."""


@frozen
class Pointer:
    """An address: a place that can load and store, and an offset in bytes."""

    place: Any
    offset: Any = 0

    def __eq__(self, other: object) -> bool:
        return other is not None  # pointers are only ever compared with null


@frozen
class Cells:
    """A place that holds whole values at fixed offsets: the translator's local variables and arrays."""

    values: dict[int, Any] = field(factory=dict)

    def load(self, offset: int, width: int) -> Any:
        return self.values[offset]

    def store(self, offset: int, width: int, value: Any) -> None:
        self.values[offset] = value


@frozen
class Exit:
    """The end of a run: the label outside the text that it went to, or `ret` with a value; and every name's value."""

    label: str
    value: Any
    names: dict[str, Any]


def blocks_of(lines: list[str]) -> dict[str, list[str]]:
    """The lines of each basic block by label; those before the first label are the block `entry`."""
    blocks: dict[str, list[str]] = {"entry": []}
    label = "entry"
    for line in map(str.strip, lines):
        if line.endswith(":"):
            label = line[:-1]
            blocks[label] = []
        elif line:
            blocks[label].append(line)
    return blocks


def functions_of(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """The parameters and the lines of each function that a module defines."""
    found = re.findall(r"^define [^@]*@([\w.]+)\(([^)]*)\)[^\n]*\{\n(.*?)^\}", text, re.M | re.S)
    return {name: (re.findall(r"%[\w.]+", head), body.splitlines()) for name, head, body in found}


class Interpreter:
    """Runs text; `functions` are those that it may call, in Python or as text."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]] | None = None, text: str = "") -> None:
        self.functions: dict[str, Callable[..., Any]] = {"llvm.umin.i64": self.least, **(functions or {})}
        for name, (parameters, lines) in functions_of(text).items():
            self.functions[name] = self.callable(parameters, lines)

    def callable(self, parameters: list[str], lines: list[str]) -> Callable[..., Any]:
        """Makes a function that is given as text callable."""

        def call(*arguments: Any) -> Any:
            return self.run(lines, dict(zip(parameters, arguments, strict=True))).value

        return call

    @staticmethod
    def least(a: Any, b: Any) -> Any:
        a, b = unsigned(a), unsigned(b)
        return a if a < b else b

    def run(self, lines: list[str], names: Mapping[str, Any]) -> Exit:
        """Runs the text from its first line, with these values for the names that it does not define itself."""
        blocks, values = blocks_of(lines), dict(names)
        before, label = "", next(label for label, block in blocks.items() if block)
        while label in blocks:
            before, label = label, self.block(blocks[label], before, values)
        return Exit(label, values.get("ret"), values)

    def block(self, lines: list[str], before: str, values: dict[str, Any]) -> str:
        """Runs one basic block; returns the label that it goes to. before: the label of the block that control comes from"""
        for line in lines:
            name, is_value, expression = line.partition(" = ")
            if is_value:
                values[name] = self.value(expression, before, values)
            elif line.startswith("store "):
                kind, value, pointer, alignment = take(r"store (\w+) (\S+), ptr ([^\s,]+)(?:, align (\d+))?", line)
                at = aligned(operand(pointer, values), kind, alignment)
                at.place.store(at.offset, bits_of(kind), operand(value, values))
            elif line.startswith("call "):
                self.call(line, values)
            else:
                return self.go(line, values)
        raise ValueError("a basic block does not end")

    def go(self, line: str, values: dict[str, Any]) -> str:
        """The label that the last instruction of a basic block goes to."""
        if line.startswith("ret"):
            values["ret"] = None if line == "ret void" else operand(line.split()[2], values)
            return "ret"
        if line.startswith("switch "):
            index, other, cases = take(r"switch i64 (\S+), label %(\S+) \[(.*)\]", line)
            chosen = unsigned(operand(index, values))
            found: str = next((label for number, label in re.findall(r"i64 (\d+), label %([\w.]+)", cases) if chosen == int(number)), other)
            return found
        if line.startswith("br label "):
            return line.removeprefix("br label %")
        condition, yes, no = take(r"br i1 (\S+), label %([\w.]+), label %([\w.]+)(?:, !prof !\d+)?", line)
        return str(yes if operand(condition, values) else no)

    def call(self, expression: str, values: dict[str, Any]) -> Any:
        function, arguments = take(r"call (?:preserve_mostcc )?\w+ ([@%][\w.]+)\((.*)\)", expression)
        given = [operand(argument.split()[1], values) for argument in arguments.split(", ") if argument]
        return (self.functions[function[1:]] if function[0] == "@" else values[function])(*given)

    def value(self, expression: str, before: str, values: dict[str, Any]) -> Any:
        """The value of an expression."""
        kind, *_ = expression.split()
        match kind:
            case "call":
                return self.call(expression, values)
            case "alloca":
                take(r"alloca \w+", expression)
                return Pointer(Cells())
            case "load":
                width, pointer, alignment = take(r"load (\w+), ptr ([^\s,]+)(?:, align (\d+))?", expression)
                at = aligned(operand(pointer, values), width, alignment)
                return at.place.load(at.offset, bits_of(width))
            case "getelementptr":
                is_inside, element, pointer, index = take(r"getelementptr (inbounds nuw )?(\w+), ptr (\S+), i64 (\S+)", expression)
                at, elements = operand(pointer, values), operand(index, values)
                return (inside if is_inside else beside)(at, elements, ELEMENT_BYTES[element])
            case "phi":
                return next(operand(one, values) for one, label in re.findall(r"\[ (\S+), %([\w.]+) \]", expression) if label == before)
            case "select":
                condition, yes, no = take(r"select i1 (\S+), \w+ (\S+), \w+ (\S+)", expression)
                return operand(yes if operand(condition, values) else no, values)
            case "icmp":
                predicate, width, a, b = take(r"icmp (\w+) (\w+) (\S+), (\S+)", expression)
                return compare(predicate, bits_of(width), operand(a, values), operand(b, values))
            case "zext" | "sext" | "trunc":
                width, a, to = take(r"\w+ (\w+) (\S+) to (\w+)", expression)
                return convert(kind, bits_of(width), operand(a, values), bits_of(to))
        operation, is_nuw, width, *both = take(r"(\w+)( nuw)? (i\d+) (\S+), (\S+)", expression)
        a, b = (operand(one, values) for one in both)
        if is_nuw:
            show_unwrapped(operation, bits_of(width), a, b)
        return compute(operation, bits_of(width), a, b)


def take(pattern: str, line: str) -> tuple[Any, ...]:
    """The groups of a pattern that the whole line matches."""
    found = re.fullmatch(pattern, line)
    if found is None:
        raise ValueError(f"not understood: {line}")
    return found.groups()


def bits_of(kind: str) -> int:
    return 64 if kind == "ptr" else int(kind[1:])


def operand(text: str, values: Mapping[str, Any]) -> Any:
    """The value of a name or a literal."""
    words = {"true": True, "false": False, "null": None}
    return values[text] if text.startswith("%") else words[text] if text in words else int(text)


def aligned(at: Pointer, kind: str, alignment: str | None) -> Pointer:
    """Returns the pointer if it is a multiple of the alignment; if none is said, of the size of what is accessed."""
    multiple = int(alignment) if alignment else bits_of(kind) // 8
    if multiple > 1 and at.offset % multiple != 0:
        raise Undefined(f"an access that is not aligned to {multiple}")
    return at


def beside(at: Pointer, elements: Any, size: int) -> Pointer:
    """The pointer moved by so many elements of a size."""
    return Pointer(at.place, at.offset + elements * size)


def inside(at: Pointer, elements: Any, size: int) -> Pointer:
    """The pointer moved up, where the text says that it stays in its place, or comes to its end: such a place knows its size."""
    distance = unsigned(elements) * size
    if at.offset + distance > at.place.size:
        raise Undefined("a pointer outside of its place")
    return Pointer(at.place, at.offset + distance)


def show_unwrapped(operation: str, width: int, a: Any, b: Any) -> None:
    """Ends the run if a result has not so many bits, without a sign."""
    if operation not in UNWRAPPED:
        raise ValueError(f"not understood: {operation} nuw")
    result = DIRECT[operation](unsigned(a, width), unsigned(b, width))
    if result < 0 or result >= 1 << width:
        raise Undefined(f"{operation} nuw")


def compare(predicate: str, width: int, a: Any, b: Any) -> Any:
    if isinstance(a, Pointer):
        return (a == b) == (predicate == "eq")
    read = signed if predicate.startswith("s") else unsigned
    a, b = read(a, width), read(b, width)
    return a == b if predicate == "eq" else a != b if predicate == "ne" else COMPARISONS[predicate[1:]](a, b)


def convert(operation: str, width: int, a: Any, to: int) -> Any:
    """A value of another width; from i1 it is 0 and 1, or 0 and −1 with its sign, and to i1 it is the lowest bit."""
    if to == 1:
        return unsigned(a, 1) == 1
    if width == 1:
        return -flag(a) if operation == "sext" else flag(a)
    return unsigned(a, width) if operation == "zext" else signed(a, width) if operation == "sext" else a


def compute(operation: str, width: int, a: Any, b: Any) -> Any:
    """The result of an instruction with two operands of one width."""
    if width == 1:
        return a == (not b) if operation == "xor" else DIRECT[operation](a, b)
    if operation in DIRECT:
        return DIRECT[operation](a, b)
    if operation in DIVISIONS:
        read = signed if operation.startswith("s") else unsigned
        a, b = read(a, width), read(b, width)
        if b == 0 or (read is signed and a == -(1 << (width - 1)) and b == -1):
            raise Undefined(operation)
        return DIVISIONS[operation](a, b)
    amount = unsigned(b, width)
    if amount >= width:
        raise Undefined(operation)
    if operation == "shl":
        return a << amount
    return (signed(a, width) if operation == "ashr" else unsigned(a, width)) >> amount
