"""Mutants that change no answer: each is a text that differs and a program that does not, with the reason."""

from collections.abc import Iterator

from attrs import frozen


@frozen
class Equivalent:
    """A mutant that nobody can kill."""

    module: str
    name: str
    reason: str


FITS = "every caller passes a number that fits"
UNUSED = "nobody reads this field of this kind of instruction"
CHECKED = "more is checked than is needed, with the same result"
ZERO = "both sides give 0 for 0"
BY_64 = "shifted by 64 places, by this code or the other, every sum is 0"
FAR = "places are negative or at least 26 here"
MORE = "the kernel gets more memory than it needs"
BOND = "the contract takes bonds from 0 to 2^128 - 1 only, and one of 0 is refused, too, because its share pays no gas"

BELOW_LIMIT = "the ranges of the operands keep this number below 2^63, as it is and so changed"
SPARED = "more pages count as written than were, and those that stayed have the same hash"


def of_line(module: str, line: str, reason: str, *changes: str) -> Iterator[Equivalent]:
    """Yields several mutants of a line: a text and its replacement, as `+ → -`, in the first place where that text stands. `without` stands
    for the line left out."""
    for change in changes:
        right = change.partition(" → ")[0]
        name = f"without {line}" if change == "without" else line.replace(right, f"⟦{change}⟧", 1)
        yield Equivalent(module, name, reason)


SPEC_PRODUCTS, SPEC_ATTENTION = "opml_spec.training.operations.products", "opml_spec.training.operations.attention"
SPEC_BACKWARD, OF_LOADER = "opml_spec.training.operations.backward", "opml_min.training.loader"
SUMS = "+ → -", "1 → 2", "<< → >>", "31 → 32"
UNREACHED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (SPEC_ATTENTION, 'yield Bound("Σ q·k·scale", head_size * scale_q24(head_size) << 30)', ("without", "* → +", "<< → >>", "30 → 31")),
    (SPEC_ATTENTION, 'yield Bound("Σ w·v", period << WEIGHT_BITS + 15)', ("without", "<< → >>", "+ → -", "15 → 16")),
    (SPEC_ATTENTION, "yield from attention_bounds(self.head_size, self.period)", ("without",)),
    (SPEC_BACKWARD, 'yield Bound("Σ w", self.vocabulary << WEIGHT_BITS)', ("<< → >>",)),
    (SPEC_BACKWARD, 'yield Bound("Σ H·x̂", self.length << HEAVY_BITS + 24)', ("without", "<< → >>", "+ → -")),
    *((module, 'yield Bound("Σ of sums", self.rows + 1 << 31)', SUMS) for module in (SPEC_BACKWARD, SPEC_PRODUCTS)),
    (SPEC_BACKWARD, 'yield Bound("Σ of sums", self.rows + 1 << 31)', ("without",)),
    ("opml_spec.training.operations.forward", 'yield Bound("Σ x·w", self.columns << 30)', ("<< → >>", "30 → 31")),
    (SPEC_PRODUCTS, 'yield Bound("Σ g·w", self.taken << 30)', ("<< → >>", "30 → 31")),
    (SPEC_PRODUCTS, 'yield Bound("Σ g·x", self.rows << 30)', ("<< → >>", "30 → 31")),
    (OF_LOADER, 'return [mean, (op["rows"] + 1) << 31, op["length"] << 50]', SUMS),
    *((OF_LOADER, f'return [op["{name}"] << 30]', ("<< → >>", "30 → 31")) for name in ("columns", "taken", "rows")),
    (OF_LOADER, 'return [op["vocabulary"] << 24]', ("<< → >>", "24 → 25")),
    (OF_LOADER, 'return [(op["rows"] + 1) << 31]', SUMS),
    (OF_LOADER, 'score = op["head_size"] * scale_q24(op["head_size"]) << 30', ("* → +", "<< → >>", "30 → 31")),
    (OF_LOADER, 'return [score, op["period"] << 39, op["period"] * op["head_size"] << 45]', ("<< → >>", "39 → 40")),
    (
        OF_LOADER,
        'return [op["head_size"] * scale_q24(op["head_size"]) << 30, op["period"] << 39]',
        ("* → +", "<< → >>", "30 → 31", "39 → 40"),
    ),
)
"""Lines that say what a number can reach, where operands in their ranges do not come near 2^63: module, line and changes."""

EQUIVALENT = (
    *(each for module, line, changes in UNREACHED for each in of_line(module, line, BELOW_LIMIT, *changes)),
    *(
        Equivalent(OF_LOADER, line, BELOW_LIMIT)
        for line in (
            'return [mean, (op["rows"] + 1) << 31, op["length"] ⟦<< → >>⟧ 50]',
            'return [op["head_size"] * scale_q24(op["head_size"]) << 30, op["period"] ⟦<< → >>⟧ 39]',
        )
    ),
    Equivalent(
        "opml_spec.arithmetic.binary32",
        "return estimate if n << max(-estimate, 0) ⟦>= → >⟧ d << max(estimate, 0) else estimate - 1",
        "a power of two is a significand of 2^23, or of 2^24 with an exponent that is one less",
    ),
    Equivalent(
        "opml_spec.model.tensors",
        'return half(int.from_bytes(block[offset : offset + ⟦2 → 3⟧], "little"))',
        "a half is made of 16 bits, whatever lies above them",
    ),
    Equivalent("opml_spec.arithmetic.binary32", "return round_to_float(n if d ⟦> → >=⟧ 0 else -n, abs(d), sign, mode)", "d is not 0 here"),
    Equivalent(
        "opml_spec.dispute.tree",
        "due = next_due(court.server_due.get(claim.server, ⟦0 → 1⟧), message.now, parameters.effort)",
        "no block has a time before 1",
    ),
    *(
        Equivalent("opml_min.training.engine", line, reason)
        for line, reason in (
            ("self._pool = ThreadPoolExecutor(threads - 1) if threads > ⟦1 → 2⟧ else None", "one thread computes what two share"),
            ("without require_compiler()", "there is a compiler"),
            ("room = max((plan.shared for plan in self._plans if isinstance(plan.shared, int)), default=⟦0 → 1⟧)", MORE),
            (
                'self._words[index, DECAY] = settings.decay(update, op["rate_q16"]) if op["decays"] == 1 else ⟦0 → 1⟧',
                "2^-32 times a weight of 31 bits rounds to 0",
            ),
            (
                "self._first_phases = list(accumulate((len(plan.phases) for plan in self._plans), initial=⟦0 → 1⟧))",
                "a table with one row more, which nobody reads",
            ),
            ("if first ⟦< → <=⟧ end and depends_on_indices(self._ops[end - 1]):", SPARED),
        )
    ),
    *(
        Equivalent("opml_min.training.written", line, SPARED)
        for line in (
            'yield from _lines(op["out"] + 4 * op["first"], np.arange(op["rows"]), ⟦4 → 5⟧ * op["taken"], 4 * op["matrix_rows"])',
            'yield op["sums"] + 4 * op["columns"] * op["first"], ⟦4 → 5⟧ * op["columns"] * op["taken"]',
            'yield from _lines(op["sums"], rows, ⟦4 → 5⟧ * op["columns"], 4 * op["columns"])',
            "firsts = np.flatnonzero(np.diff(starts, prepend=-(PAGE_BYTES + size)) ⟦>= → >⟧ PAGE_BYTES + size)",
        )
    ),
    Equivalent(
        "opml_min.training.written",
        "firsts = np.flatnonzero(np.diff(starts, prepend=-(PAGE_BYTES + size)) >= PAGE_BYTES ⟦+ → -⟧ size)",
        "two spans in the place of one, without pages between them that were not written",
    ),
    Equivalent(
        "opml_min.training.written",
        "firsts = np.flatnonzero(np.diff(starts, prepend=-(PAGE_BYTES ⟦+ → -⟧ size)) >= PAGE_BYTES + size)",
        "tensors lie so far from 0 that the first line begins a span in any case",
    ),
    Equivalent("opml_min.machine.decode", "value &= (1 ⟦<< → >>⟧ bits) - 1", FITS),
    Equivalent("opml_min.machine.decode", 'return Instruction(IMMEDIATE, "add", rd, 0, ⟦0 → 1⟧, immediate_u)', UNUSED),
    Equivalent("opml_min.machine.interpret", "return -(-a // b) if (a ⟦< → <=⟧ 0) != (b < 0) else a // b", ZERO),
    Equivalent("arbiter.vy", "return BREAKPOINT, ⟦0 → 1⟧, following", "what is returned with a cause means nothing"),
    Equivalent("opml_min.machine.translator.bounds_checks", "without growing[accessed.kind, accessed.base] = at", CHECKED),
    Equivalent("opml_min.machine.decode", 'return Instruction(JAL, "", rd, 0, ⟦0 → 1⟧, immediate_j(word))', UNUSED),
    Equivalent(
        "opml_min.machine.translator.loops",
        "return sorted(last, key=lambda register: (register ⟦not → ⟧ in carried, last[register]))",
        "any order of the results is right, if it is the same one everywhere",
    ),
    Equivalent(
        "opml_min.machine.translator.bounds_checks",
        "if any(moved.get(r.base, 0) is None or r.size ⟦> → >=⟧ PAGE_BYTES for r in found.values()):",
        CHECKED,
    ),
    Equivalent(
        "opml_min.machine.translator.loops",
        'for adds, bits, operations in (("⟦add → sub⟧", 64, CONDITIONS.keys() - {"beq"}), ("addw", 32, {"bne", "blt", "bge"})):',
        "no counter is found, so the branch is checked in each iteration",
    ),
    Equivalent(
        "opml_min.machine.translator.loops",
        'nears = stride > 0 if operation in ("blt", "bltu") else stride < ⟦0 → 1⟧ if operation in ("bge", "bgeu") else True',
        "a stride is never 0 here",
    ),
    *(
        Equivalent("opml_spec.dispute.parameters", f'"bonds": {changed},', BOND)
        for changed in (
            "⟦0 → 1⟧ <= self.min_bond < WEI_LIMIT and 0 <= self.node_bond < WEI_LIMIT",
            "0 ⟦<= → <⟧ self.min_bond < WEI_LIMIT and 0 <= self.node_bond < WEI_LIMIT",
            "0 <= self.min_bond ⟦< → <=⟧ WEI_LIMIT and 0 <= self.node_bond < WEI_LIMIT",
            "0 <= self.min_bond < WEI_LIMIT ⟦and → or⟧ 0 <= self.node_bond < WEI_LIMIT",
            "0 <= self.min_bond < WEI_LIMIT and ⟦0 → 1⟧ <= self.node_bond < WEI_LIMIT",
            "0 <= self.min_bond < WEI_LIMIT and 0 ⟦<= → <⟧ self.node_bond < WEI_LIMIT",
            "0 <= self.min_bond < WEI_LIMIT and 0 <= self.node_bond ⟦< → <=⟧ WEI_LIMIT",
        )
    ),
    Equivalent(
        "opml_min.model.native.kernels.stages",
        "if output[1] != 0 or (op ⟦== → !=⟧ 0 and workspace.control[STOP] != 0):",
        "only an interrupt asks to stop, and then nobody uses the result",
    ),
    Equivalent(
        "opml_min.model.native.kernels.fixed.attention_output",
        "q[head * head_size : (head + ⟦1 → 2⟧) * head_size] = 0",
        "the next head is written after this one",
    ),
    Equivalent(
        "opml_min.model.native.kernels.fixed.batch_attention",
        "if smallest ⟦+ → -⟧ places > 0:  # always for keys that CACHE wrote",
        "places are 9 or more, so only the branch for all shifts is taken more often",
    ),
    Equivalent(
        "opml_min.model.native.kernels.fixed.batch_attention",
        "count = min(LANES, length ⟦- → +⟧ first)",
        "more rows of the cache are packed, which have weight 0",
    ),
    Equivalent(
        "opml_min.model.native.kernels.work_sharing",
        "float_matmul_tiles(base, operands, chunk * size, (chunk + ⟦1 → 2⟧) * size, workspace.sums[thread])",
        "tiles are computed twice, with the same result",
    ),
    Equivalent(
        "opml_min.model.native.kernels.vector.panel",
        "if 0 < shift <= ⟦63 → 64⟧ and (panel + 1) * TILES * TILE_ROWS <= rows:  # almost always",
        BY_64,
    ),
    Equivalent(
        "opml_min.model.native.kernels.vector.rounding",
        "if 0 < shift <= ⟦63 → 64⟧ and count == TILE_ROWS:  # almost always",
        BY_64,
    ),
    Equivalent(
        "opml_min.model.native.kernels.vector.tile",
        "which = column // ⟦2 → 3⟧ % 2",
        "both totals are added in the end, in whichever a product is",
    ),
    Equivalent(
        "dot.c",
        "factors[i].significand = ((int32_t)values[i] < ⟦0 → 1⟧ ? -significand : significand) << SCALE_UP;",
        "the float whose bits are 0 has a significand of 0",
    ),
    Equivalent("dot.c", "if (places > ⟦0 → 1⟧)", FAR),
    Equivalent("dot.c", "if (places ⟦> → >=⟧ 0)", FAR),
    Equivalent(
        "matmul.c",
        "for (uint64_t lane = 0; lane ⟦< → <=⟧ LANES && row + lane < o->rows; lane++)",
        "the next tile writes this row again",
    ),
    Equivalent("opml_spec.arithmetic.binary32", "Rounding.RMM: 2 * rest > d or (2 * rest == d and n ⟦> → >=⟧ 0),", "0 leaves no rest"),
    Equivalent("opml_spec.arithmetic.elementary", "return positive if argument_q14 >= ⟦0 → 1⟧ else (1 << 30) - positive", "σ(0) is 1/2"),
    Equivalent(
        "opml_spec.arithmetic.binary32",
        "return round_to_float(2 * root ⟦+ → -⟧ flag(root * root != scaled), 1 << 129, 0, mode)",
        "no float, and no number halfway between two, is so near to a root that is none",
    ),
    Equivalent(
        "opml_spec.training.loader", "low, high = RANGES.get(name, (⟦0 → 1⟧, MEMORY_BYTES))", "no tensor may lie at 0: the same error"
    ),
    Equivalent(
        "opml_min.training.plans",
        "Phase(products.matmul_weights, taken, block // 2, 8 * block * x_width + 4 ⟦* → +⟧ columns),",
        "memory is planned for twice as many rows as a piece has",
    ),
    Equivalent(
        "opml_min.training.plans",
        "scratch += ⟦4 → 5⟧ * padded(size, 2) * padded(period, TWO_PIECE_ROWS) + 6 * POSITIONS * width",
        MORE,
    ),
    Equivalent(
        "opml_min.training.kernels.attention",
        "low[2 * pairs * count :], high[2 * pairs * count :] = ⟦0 → 1⟧, 0",
        "nobody reads the products of rows behind the last one",
    ),
    *(
        Equivalent("opml_min.machine.interpret", f"return -(-a // b) if (a < 0) != (b {changed}) else a // b", "b is not 0 here")
        for changed in ("< ⟦0 → 1⟧", "⟦< → <=⟧ 0")
    ),
    Equivalent(
        "opml_spec.machine.merkle",
        "if index >> (above ⟦- → +⟧ height - 1) & 1:",
        "only leaves are replaced, whose height is 0",
    ),
    Equivalent("opml_spec.runs.run", "without break", "a machine that has ended stays as it is"),
    Equivalent(
        "opml_min.model.native.kernels.fixed.matmul",
        "return operands[⟦3 → 4⟧] != Q8_0",
        "sums of groups are computed that nobody uses",
    ),
    Equivalent(
        "opml_min.model.native.kernels.stages",
        "if position >= prompt_length - ⟦1 → 2⟧:",
        "the loader requires of an op that draws that it is only executed from there on",
    ),
    Equivalent("opml_min.machine.translator.emit", 'if operation == "add" and (a == "0" ⟦or → and⟧ b == "0"):', "0 is added, too"),
    Equivalent(
        "opml_min.machine.translator.loops",
        "by_a, by_b = moved.get(a, 0), moved.get(b, ⟦0 → 1⟧)",
        "no counter is found, or one in a loop without end whose branch compares the same each time",
    ),
    *(
        Equivalent("training/fast_rsqrt.h", f"uint64_t y = {guess} * x >> 30)) * x >> 30);", "Newton's steps correct the guess")
        for guess in ("⟦2867824744 → 2867824745⟧ - ((3527716384 - (1759446830", "2867824744 - ((⟦3527716384 → 3527716385⟧ - (1759446830")
    ),
    Equivalent(
        "opml_min.training.kernels.packing",
        "low[len(values) :], high[len(values) :] = ⟦0 → 1⟧, 0",
        "what is there is multiplied by zeros",
    ),
    Equivalent("arbiter.vy", "kind: uint256 = ⟦0 → 1⟧", "another value is assigned before it is read"),
    Equivalent("game.vy", "gas: uint256 = ⟦0 → 1⟧", "another value is assigned before it is read"),
    Equivalent(
        "game.vy",
        "self.nodes[node_id].clock_word = turn.clock_word | (⟦1 → 2⟧ << COLLECTED_BIT)",
        "of the bits from COLLECTED_BIT on, it only matters whether any is set",
    ),
    Equivalent(
        "opml_min.machine.translator.emit",
        'highest = self.value(f"add i64 {lowest}, {size - 1}") if size ⟦> → >=⟧ 1 else lowest',
        "0 is added, too",
    ),
    Equivalent(
        "opml_min.machine.translator.emit",
        'target = self.value(f"⟦and → or⟧ i64 {self.address(instruction.rs1, instruction.imm)}, -2")',
        "no target is aligned then, and those that are not are left to the interpreter",
    ),
    Equivalent(
        "opml_min.training.kernels.attention_backward",
        "dk_own, dv_own = int64s(0, fractions, group), int64s(⟦0 → 1⟧, fractions + 8 * group, group)",
        "the last byte lies where a head's rows were, which are written again for the next one",
    ),
    Equivalent(
        "opml_min.training.plans",
        'return Plan((Phase(kernel, op["rows"], max(1, ⟦ELEMENTS_AT_ONCE // length → length // ELEMENTS_AT_ONCE⟧), '
        "8 * lines * length),), shared)",
        "how many rows are computed at once changes nothing",
    ),
    Equivalent(
        "opml_min.training.plans",
        "scratch = 4 * padded(size, 2) * width + 8 * pairs * columns + 16 * POSITIONS * width + ⟦4 → 5⟧ * period * width",
        MORE,
    ),
    Equivalent(
        "training/fast_rsqrt.h",
        "for (int i = 0; i < ⟦2 → 3⟧; i++) {",
        "one more step of Newton adds nothing that 30 bits could hold",
    ),
    Equivalent(
        "binary32.c",
        "if (exponent ⟦< → <=⟧ 1) {  /* subnormal: no hidden bit, the place of the last bit is fixed */",
        "at 1 it is shifted by no place",
    ),
)
