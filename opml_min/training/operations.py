"""The ops of training: their numbers, their operands, and the tensors that each one reads and writes.

*Source*: spec §6.3 to §6.7 for operands and forms, spec §6.8 for the places.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from functools import cached_property

from attrs import frozen


class TrainingOpcode(IntEnum):
    """What an op computes."""

    INIT = 65
    TOKENS = 66
    PICTURES = 67
    CAST = 68
    EXPORT = 69
    EMBED = 70
    NORM = 71
    MATMUL = 72
    ROPE = 73
    HEADS = 74
    ATTENTION = 75
    SWIGLU = 76
    ADD = 77
    RELU = 78
    CROSS_ENTROPY = 79
    ROUND = 80
    SUM = 81
    MATMUL_DATA = 82
    MATMUL_WEIGHTS = 83
    TARGET_DATA = 84
    TARGET_WEIGHTS = 85
    EMBED_WEIGHTS = 86
    NORM_BACKWARD = 87
    ROPE_BACKWARD = 88
    ATTENTION_BACKWARD = 89
    SWIGLU_BACKWARD = 90
    RELU_BACKWARD = 91
    ADAM = 92
    SGD = 93
    MUON = 94


class TensorPlace(Enum):
    """Where a loader allows a tensor to lie."""

    STATE = "the state quarter"
    TENSORS = "the io quarter from TENSORS on"
    MODEL = "the model quarter"
    ANYWHERE = "model quarter, request, tensors or state quarter"


@frozen
class Tensor:
    """The bytes of one operand of one op."""

    name: str
    address: int
    size: int  # bytes
    form: tuple[int | str, ...]
    written: bool
    place: TensorPlace

    @property
    def end(self) -> int:
        return self.address + self.size


# Of each op its operands, and then its tensors: name and kind, `!` if written, and its sizes: products of operands.
_ROWS_OF_HEADS = "sequences*period heads*head_size"
_TABLE: dict[TrainingOpcode, tuple[str, str]] = {
    TrainingOpcode.INIT: ("out count mean scale_q16 stream", "!out:master count"),
    TrainingOpcode.TOKENS: (
        "out targets text token_bytes count sequences period first per_update stream",
        "!out:ints sequences*period; !targets:ints sequences*period; text:bytes count*token_bytes",
    ),
    TrainingOpcode.PICTURES: (
        "out targets pictures labels count rows length first per_update stream",
        "!out:act rows length; !targets:ints rows; pictures:bytes count*length; labels:bytes count",
    ),
    TrainingOpcode.CAST: ("out master count frac width", "!out:act 1 count; master:ints count"),
    TrainingOpcode.EXPORT: ("out master rows columns frac", "!out:matrix rows columns; master:ints rows*columns"),
    TrainingOpcode.EMBED: (
        "out working tokens rows columns matrix_rows r",
        "!out:ints rows*columns; working:act 1 matrix_rows*columns; tokens:ints rows",
    ),
    TrainingOpcode.NORM: ("out x gains rows length r eps_q48 width", "!out:act rows length; x:ints rows*length; gains:ints length"),
    TrainingOpcode.MATMUL: (
        "out x working rows columns matrix_rows first taken out_frac",
        "!out:ints rows*matrix_rows; x:act rows columns; working:act 1 matrix_rows*columns",
    ),
    TrainingOpcode.ROPE: ("vectors rows period heads head_size table", "!vectors:ints rows*heads*head_size; table:table period*head_size"),
    TrainingOpcode.HEADS: (
        "out x sequences period heads head_size vector_frac width",
        "!out:act sequences*heads period*head_size; x:ints sequences*period*heads*head_size",
    ),
    TrainingOpcode.ATTENTION: (
        "out q k v sequences period heads kv_heads head_size width",
        f"!out:act {_ROWS_OF_HEADS}; q:act sequences*heads period*head_size; "
        "k:act sequences*kv_heads period*head_size; v:act sequences*kv_heads period*head_size",
    ),
    TrainingOpcode.SWIGLU: ("out gate up rows length width", "!out:act rows length; gate:ints rows*length; up:ints rows*length"),
    TrainingOpcode.ADD: ("out x y count", "!out:ints count; x:ints count; y:ints count"),
    TrainingOpcode.RELU: ("out x rows length vector_frac width", "!out:act rows length; x:ints rows*length"),
    TrainingOpcode.CROSS_ENTROPY: (
        "out of_target logits targets rows vocabulary width",
        "!out:act rows vocabulary; !of_target:ints rows; logits:ints rows*vocabulary; targets:ints rows",
    ),
    TrainingOpcode.ROUND: ("out x rows length width", "!out:act rows length; x:grad rows length"),
    TrainingOpcode.SUM: ("out x y rows length", "!out:grad rows length; x:grad rows length; y:grad rows length"),
    TrainingOpcode.MATMUL_DATA: (
        "out g working rows columns matrix_rows first taken",
        "!out:grad rows columns; g:act rows matrix_rows; working:act 1 matrix_rows*columns",
    ),
    TrainingOpcode.MATMUL_WEIGHTS: (
        "sums g x rows columns matrix_rows first taken sum_frac",
        "!sums:ints matrix_rows*columns; g:act rows matrix_rows; x:act rows columns",
    ),
    TrainingOpcode.TARGET_DATA: (
        "out of_target targets working rows columns matrix_rows",
        "!out:grad rows columns; of_target:ints rows; targets:ints rows; working:act 1 matrix_rows*columns",
    ),
    TrainingOpcode.TARGET_WEIGHTS: (
        "sums of_target targets x rows columns matrix_rows sum_frac",
        "!sums:ints matrix_rows*columns; of_target:ints rows; targets:ints rows; x:act rows columns",
    ),
    TrainingOpcode.EMBED_WEIGHTS: (
        "sums d tokens rows columns matrix_rows sum_frac",
        "!sums:ints matrix_rows*columns; d:grad rows columns; tokens:ints rows",
    ),
    TrainingOpcode.NORM_BACKWARD: (
        "out sums g x gains rows length r eps_q48 sum_frac",
        "!out:grad rows length; !sums:ints length; g:grad rows length; x:ints rows*length; gains:ints length",
    ),
    TrainingOpcode.ROPE_BACKWARD: (
        "out x rows period heads head_size table width",
        "!out:act rows heads*head_size; x:grad rows heads*head_size; table:table period*head_size",
    ),
    TrainingOpcode.ATTENTION_BACKWARD: (
        "out_q out_k out_v q k v d sequences period heads kv_heads head_size width",
        f"!out_q:grad {_ROWS_OF_HEADS}; !out_k:grad sequences*period kv_heads*head_size; "
        "!out_v:grad sequences*period kv_heads*head_size; q:act sequences*heads period*head_size; "
        f"k:act sequences*kv_heads period*head_size; v:act sequences*kv_heads period*head_size; d:grad {_ROWS_OF_HEADS}",
    ),
    TrainingOpcode.SWIGLU_BACKWARD: (
        "out_gate out_up d gate up rows length width",
        "!out_gate:act rows length; !out_up:act rows length; d:grad rows length; gate:ints rows*length; up:ints rows*length",
    ),
    TrainingOpcode.RELU_BACKWARD: ("out d x rows length width", "!out:act rows length; d:grad rows length; x:ints rows*length"),
    TrainingOpcode.ADAM: (
        "master sums m v count frac rate_q16 decays",
        "!master:master count; !sums:ints count; !m:ints count; !v:longs count",
    ),
    TrainingOpcode.SGD: ("master sums count frac sum_frac rate_q16 decays", "!master:master count; !sums:ints count"),
    TrainingOpcode.MUON: (
        "master sums momentum matrix_rows columns frac rate_q16 decays",
        "!master:master matrix_rows*columns; !sums:ints matrix_rows*columns; !momentum:ints matrix_rows*columns",
    ),
}
OPERANDS: dict[TrainingOpcode, tuple[str, ...]] = {opcode: tuple(names.split()) for opcode, (names, _) in _TABLE.items()}
_VALUE_BYTES = {"act": 2, "grad": 4}


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def row_tensor_bytes(rows: int, length: int, value_bytes: int) -> int:
    """Return the size of rows with exponents."""
    return padded(4 * rows, 32) + rows * length * value_bytes


def matrix_bytes(rows: int, columns: int) -> int:
    """Return the size of an exported matrix: blocks of 8 rows and 32 columns."""
    return padded(rows, 8) // 8 * (padded(columns, 32) // 32) * 272


@frozen
class TrainingOp:
    """One record of a training tape."""

    opcode: TrainingOpcode
    condition: int
    operands: Mapping[str, int]

    @classmethod
    def of(cls, record: tuple[int, ...]) -> "TrainingOp":
        """Decode a record; ValueError is raised for an unknown opcode."""
        opcode = TrainingOpcode(record[0])
        return cls(opcode, record[1], dict(zip(OPERANDS[opcode], record[2:], strict=False)))

    def words(self) -> tuple[int, ...]:
        return (int(self.opcode), self.condition, *(self.operands[name] for name in OPERANDS[self.opcode]))

    def __getitem__(self, name: str) -> int:
        return self.operands[name]

    def size(self, product: str) -> int:
        """Return a product of operands, such as `rows*length`."""
        result = 1
        for factor in product.split("*"):
            result *= 1 if factor == "1" else self.operands[factor]
        return result

    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    @cached_property
    def _tensors(self) -> tuple[Tensor, ...]:
        return tuple(self._tensor(description.strip()) for description in _TABLE[self.opcode][1].split(";"))

    def _tensor(self, description: str) -> Tensor:
        head, *products = description.split()
        name, kind = head.removeprefix("!").split(":")
        sizes, written, place = [self.size(product) for product in products], head.startswith("!"), TensorPlace.ANYWHERE
        form: tuple[int | str, ...] = ("ints",)
        if kind in _VALUE_BYTES:
            rows, length = sizes
            size, form = row_tensor_bytes(rows, length, _VALUE_BYTES[kind]), ("rows", rows, length, _VALUE_BYTES[kind])
        elif kind in ("bytes", "matrix"):
            size, form = (matrix_bytes(*sizes) if kind == "matrix" else sizes[0]), ("bytes",)
        elif kind == "longs":
            size, form = 8 * sizes[0], ("longs",)
        else:
            size = 4 * sizes[0]
        if kind in ("master", "matrix"):
            place = TensorPlace.STATE
        elif kind == "table":
            place = TensorPlace.MODEL
        elif written or kind in (*_VALUE_BYTES, "longs"):
            place = TensorPlace.TENSORS
        return Tensor(name, self.operands[name], size, form, written, place)
