"""How many machine steps the shipped program needs for an op: an upper bound, for the limit of a stage.

Native code does not count steps. So a stage that might reach the limit is left to the machine, where it would fail.

*Source*: measured; a test compares the bound with the program's steps, also for unusual numbers.
"""

from opml_min.training.operations import TrainingOp, TrainingOpcode, padded

STAGE_STEPS = 1 << 24  # of a stage, whatever its op: most of them may be for the powers of a rate
ROW_STEPS = 2_048  # of a row, whatever its length
PRODUCT_STEPS = 3  # of a multiplication in a tile of 4 × 4
PACKED_STEPS = 32  # of each number that goes into a product or comes out of it
HEAD_STEPS = 256  # of a head of HEADS, however short it is

# Of each other op the steps of a unit, and the number of units.
_PER_UNIT: dict[TrainingOpcode, tuple[int, str]] = {
    TrainingOpcode.INIT: (90, "count"),
    TrainingOpcode.TOKENS: (48, "sequences*period"),
    TrainingOpcode.PICTURES: (24, "rows*length"),
    TrainingOpcode.CAST: (48, "count"),
    TrainingOpcode.EMBED: (36, "rows*columns"),
    TrainingOpcode.NORM: (120, "rows*length"),
    TrainingOpcode.ROPE: (32, "rows*heads*head_size"),
    TrainingOpcode.SWIGLU: (140, "rows*length"),
    TrainingOpcode.ADD: (24, "count"),
    TrainingOpcode.RELU: (64, "rows*length"),
    TrainingOpcode.CROSS_ENTROPY: (190, "rows*vocabulary"),
    TrainingOpcode.ROUND: (64, "rows*length"),
    TrainingOpcode.SUM: (72, "rows*length"),
    TrainingOpcode.TARGET_DATA: (56, "rows*columns"),
    TrainingOpcode.TARGET_WEIGHTS: (72, "rows*columns"),
    TrainingOpcode.EMBED_WEIGHTS: (64, "rows*columns"),
    TrainingOpcode.NORM_BACKWARD: (240, "rows*length"),
    TrainingOpcode.ROPE_BACKWARD: (64, "rows*heads*head_size"),
    TrainingOpcode.SWIGLU_BACKWARD: (240, "rows*length"),
    TrainingOpcode.RELU_BACKWARD: (64, "rows*length"),
    TrainingOpcode.ADAM: (140, "count"),
    TrainingOpcode.SGD: (48, "count"),
}


def steps_bound(op: TrainingOp) -> int:
    """Return an upper bound of the machine steps of the op."""
    return STAGE_STEPS + usual_steps(op)


def usual_steps(op: TrainingOp) -> int:
    """Return the bound without what a stage hardly ever needs."""
    rows = sum(op.operands.get(name, 0) for name in ("rows", "matrix_rows", "sequences"))
    return ROW_STEPS * rows + _work(op)


def _work(op: TrainingOp) -> int:
    """Return the steps that grow with the length of rows, too."""
    match op.opcode:
        case TrainingOpcode.MATMUL:
            return _product(op["rows"], op["taken"], op["columns"])
        case TrainingOpcode.MATMUL_DATA:
            return _product(op["rows"], op["columns"], op["taken"])
        case TrainingOpcode.MATMUL_WEIGHTS:
            return _product(op["taken"], op["columns"], op["rows"])
        case TrainingOpcode.EXPORT:
            return 64 * padded(op["rows"], 8) * op["columns"]
        case TrainingOpcode.HEADS:
            return HEAD_STEPS * op.size("sequences*heads") + 56 * op.size("sequences*period*heads*head_size")
        case TrainingOpcode.ATTENTION:
            return _pairs(op) * (240 + 9 * op["head_size"]) + _positions(op) * (ROW_STEPS + 192 * op["head_size"])
        case TrainingOpcode.ATTENTION_BACKWARD:
            return _pairs(op) * (400 + 26 * op["head_size"]) + _positions(op) * (2 * ROW_STEPS + 512 * op["head_size"])
        case TrainingOpcode.MUON:
            short, long = sorted((op["matrix_rows"], op["columns"]))
            return 5 * (2 * _product(short, long, short) + _product(short, short, short)) + 256 * short * long
    steps, units = _PER_UNIT[op.opcode]
    return steps * op.size(units)


def _product(rows: int, columns: int, depth: int) -> int:
    tiles = padded(rows, 4) * padded(columns, 4) * depth
    return PRODUCT_STEPS * tiles + PACKED_STEPS * (rows * columns + (rows + columns) * depth)


def _pairs(op: TrainingOp) -> int:
    """Return the number of a query with a key that it sees, of all heads."""
    return op["sequences"] * op["heads"] * op["period"] * (op["period"] + 1) // 2


def _positions(op: TrainingOp) -> int:
    return op["sequences"] * op["heads"] * op["period"]
