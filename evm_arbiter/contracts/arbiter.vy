#pragma version 0.4.3
#pragma evm-version prague
#pragma optimize gas
"""
@title The arbiter: one step of the machine, from a witness
@notice Reads the state and the leaves that the step touches, each leaf with its Merkle path, checks all of it against the
        memory root, executes one RV64IM instruction and returns the state hashes before and after. It keeps no storage: whoever
        calls it decides what the two hashes mean.
@dev    Registers are 64-bit numbers in 256-bit words. A signed number is held as its two's complement in 256 bits, so addition,
        multiplication, the logical shift right of up to 64 and SDIV give the right low bits without any special case; the last
        thing that happens to a result is that it is cut to 64 bits. 32-bit instructions are the same circuit with another width.
        `unsafe_` arithmetic is wanted where a comment says mod 2^256, and elsewhere its arguments are below 2^65.
        Source: RISC-V unprivileged manual, RV64I and M; specification, section 1.
"""

# --- Encodings: specification 1.1, 1.5 ---
STATE_BYTES: constant(uint256) = 297
ACCESS_BYTES: constant(uint256) = 32 + 5  # leaf and bitmap, before the siblings
DEPTH: constant(uint256) = 35
# One byte more than three accesses with every sibling need: what is longer has the same error as its first 3769 bytes.
WITNESS_BYTES: constant(uint256) = STATE_BYTES + 3 * (ACCESS_BYTES + 32 * DEPTH) + 1

RUNNING: constant(uint256) = 0
HALTED: constant(uint256) = 1
TRAPPED: constant(uint256) = 2

FETCH_MISALIGNED: constant(uint256) = 0
FETCH_FAULT: constant(uint256) = 1
ILLEGAL: constant(uint256) = 2
BREAKPOINT: constant(uint256) = 3
LOAD_FAULT: constant(uint256) = 5
STORE_FAULT: constant(uint256) = 7
ENVIRONMENT_CALL: constant(uint256) = 8
CAUSES: constant(uint256) = 431  # 0b110101111, bit c: cause c exists

TRUNCATED: constant(uint256) = 101
UNDECODABLE: constant(uint256) = 102
BITMAP: constant(uint256) = 103
ZERO_SIBLING: constant(uint256) = 104
ROOT: constant(uint256) = 105
TRAILING: constant(uint256) = 106

# --- Memory map: specification 1.2 ---
MEMORY_BYTES: constant(uint256) = 2**40
ENTRY: constant(uint256) = 2**38  # also where the model quarter begins
MODEL_END: constant(uint256) = 2**39
LAST_TEXT: constant(uint256) = 2**28 - 4  # the last instruction that can be fetched, from ENTRY

MASK64: constant(uint256) = 2**64 - 1
SIGN64: constant(uint256) = 2**63
BYTES: constant(uint256) = MASK64 // 257  # 0x00FF00FF00FF00FF
PAIRS: constant(uint256) = MASK64 // 65537  # 0x0000FFFF0000FFFF

# --- Opcodes: manual, "RV32/64G Instruction Set Listings" ---
LOAD: constant(uint256) = 3  # 0b0000011
MISC_MEM: constant(uint256) = 15  # 0b0001111
OP_IMM: constant(uint256) = 19  # 0b0010011
AUIPC: constant(uint256) = 23  # 0b0010111
OP_IMM_32: constant(uint256) = 27  # 0b0011011
STORE: constant(uint256) = 35  # 0b0100011
OP: constant(uint256) = 51  # 0b0110011
LUI: constant(uint256) = 55  # 0b0110111
OP_32: constant(uint256) = 59  # 0b0111011
BRANCH: constant(uint256) = 99  # 0b1100011
JALR: constant(uint256) = 103  # 0b1100111
JAL: constant(uint256) = 111  # 0b1101111
ECALL: constant(uint256) = 115  # 0x00000073, the whole word
EBREAK: constant(uint256) = 1048691  # 0x00100073
EXIT: constant(uint256) = 93  # a7 of the only environment call

# Kinds of computation, by funct7; bit f of a mask says that funct3 = f exists, for 64 bits and for 32.
BASE: constant(uint256) = 0  # 0b0000000
MULDIV: constant(uint256) = 1  # 0b0000001
ALTERNATE: constant(uint256) = 32  # 0b0100000, SUB, SRA
BASE_64: constant(uint256) = 255  # 0b11111111
BASE_32: constant(uint256) = 35  # 0b00100011
MULDIV_64: constant(uint256) = 255  # 0b11111111
MULDIV_32: constant(uint256) = 241  # 0b11110001
ALTERNATES: constant(uint256) = 33  # 0b00100001

ZERO: immutable(bytes32[DEPTH])  # roots of the all-zero subtrees, by height


@deploy
def __init__():
    zero: bytes32[DEPTH] = empty(bytes32[DEPTH])
    for height: uint256 in range(1, DEPTH):
        zero[height] = keccak256(concat(zero[height - 1], zero[height - 1]))
    ZERO = zero


@external
@view
def step(witness: Bytes[WITNESS_BYTES]) -> (bytes32, bytes32):
    # State hash before and after one step; reverts with OpmlError if the witness is not the canonical one for its root.
    if len(witness) < STATE_BYTES:
        self._fail(TRUNCATED)
    status: uint256 = extract32(witness, 256, output_type=uint256) >> 184
    kind: uint256 = status >> 64
    status_value: uint256 = status & MASK64
    if kind > TRAPPED or (kind == RUNNING and status_value != 0) or (kind == TRAPPED and (CAUSES >> status_value) & 1 == 0):
        self._fail(UNDECODABLE)

    state: Bytes[STATE_BYTES] = slice(witness, 0, STATE_BYTES)
    pre_hash: bytes32 = keccak256(state)
    at: uint256 = STATE_BYTES  # where the reader of the witness is
    if kind != RUNNING:
        self._end(len(witness), at)
        return pre_hash, pre_hash

    pc: uint256 = extract32(state, 0, output_type=uint256) >> 192
    if pc & 3 != 0:
        self._end(len(witness), at)
        return pre_hash, self._stopped(state, TRAPPED, FETCH_MISALIGNED)
    if unsafe_sub(pc, ENTRY) > LAST_TEXT:  # mod 2^256, so a pc below ENTRY is far above
        self._end(len(witness), at)
        return pre_hash, self._stopped(state, TRAPPED, FETCH_FAULT)

    root: bytes32 = extract32(witness, 265)
    leaf: uint256 = 0
    leaf, root, at = self._access(witness, at, pc >> 5, root, 0, 0)
    word: uint256 = leaf >> unsafe_sub(224, (pc & 31) << 3)  # (pc & 31) <= 28: its four bytes, lowest address highest
    instruction: uint256 = self._reverse(word & (2**32 - 1)) >> 32

    opcode: uint256 = instruction & 127
    funct3: uint256 = (instruction >> 12) & 7
    rd: uint256 = (instruction >> 7) & 31
    rs1: uint256 = (instruction >> 15) & 31
    a: uint256 = 0 if rs1 == 0 else extract32(state, rs1 << 3, output_type=uint256) >> 192
    rs2: uint256 = (instruction >> 20) & 31
    b: uint256 = 0 if rs2 == 0 else extract32(state, rs2 << 3, output_type=uint256) >> 192
    immediate: uint256 = self._extend(instruction >> 20, 2**11)  # of the I-type; the others are put together where they are used
    next_pc: uint256 = unsafe_add(pc, 4)
    result: uint256 = 0  # what goes to rd
    cause: uint256 = max_value(uint256)  # of a trap; this is none

    if opcode == OP or opcode == OP_IMM or opcode == OP_32 or opcode == OP_IMM_32:
        narrow: bool = opcode & 8 != 0
        funct7: uint256 = instruction >> 25
        legal: uint256 = BASE_32 if narrow else BASE_64
        if opcode & 32 == 0:
            b = immediate
            if funct3 & 3 != 1:  # no shift: all of these bits belong to the immediate
                funct7 = BASE
            elif not narrow:  # the lowest of them is bit 5 of the shift amount
                funct7 &= 126
        elif funct7 == MULDIV:
            legal = MULDIV_32 if narrow else MULDIV_64
        if funct7 == ALTERNATE:
            legal = ALTERNATES
        elif funct7 != BASE and (funct7 != MULDIV or opcode & 32 == 0):
            legal = 0
        if (legal >> funct3) & 1 == 0:
            cause = ILLEGAL
        else:
            result = self._compute(funct7, funct3, a, b, 32 if narrow else 64)

    elif opcode == LOAD or opcode == STORE:
        size: uint256 = 1 << (funct3 & 3)
        writes: bool = opcode == STORE
        if writes:
            immediate = self._extend((instruction >> 25) << 5 | rd, 2**11)
            rd = 0
        low: uint256 = unsafe_add(a, immediate) & MASK64
        high: uint256 = unsafe_sub(unsafe_add(low, size), 1)
        if funct3 > 6 or (writes and funct3 > 3):
            cause = ILLEGAL
        elif writes and (high >= MEMORY_BYTES or (high >= ENTRY and low < MODEL_END)):
            cause = STORE_FAULT
        elif high >= MEMORY_BYTES:
            cause = LOAD_FAULT
        else:
            # The bytes in the order of their addresses are one big number; its distance, in bits, to the end of the first leaf
            # is below zero (mod 2^256) if it reaches into the second, which then holds its last `over` bits.
            bits: uint256 = size << 3
            distance: uint256 = unsafe_sub(unsafe_sub(256, (low & 31) << 3), bits)
            crosses: bool = distance > 256
            over: uint256 = unsafe_sub(0, distance) if crosses else 0
            window: uint256 = MASK64 >> unsafe_sub(64, bits) if writes else 0
            bytes_in: uint256 = self._reverse(b) >> unsafe_sub(64, bits) if writes else 0  # lowest address highest
            if crosses:
                leaf, root, at = self._access(witness, at, low >> 5, root, window >> over, bytes_in >> over)
                result = leaf << over
                rest: uint256 = unsafe_sub(256, over)
                leaf, root, at = self._access(witness, at, high >> 5, root, window << rest, bytes_in << rest)
                result |= leaf >> rest
            else:
                leaf, root, at = self._access(witness, at, low >> 5, root, window << distance, bytes_in << distance)
                result = leaf >> distance
            if not writes:
                result = self._reverse((result << unsafe_sub(64, bits)) & MASK64)
                if funct3 < 4:
                    result = self._extend(result, 1 << unsafe_sub(bits, 1))

    elif opcode == BRANCH:
        rd = 0
        if funct3 >> 1 == 1:
            cause = ILLEGAL
        elif self._compare(funct3, a, b) != (funct3 & 1 == 1):
            high_bits: uint256 = (instruction >> 31) << 12 | ((instruction >> 7) & 1) << 11
            low_bits: uint256 = ((instruction >> 25) & 63) << 5 | ((instruction >> 8) & 15) << 1
            next_pc = unsafe_add(pc, self._extend(high_bits | low_bits, 2**12))

    elif opcode == LUI or opcode == AUIPC:
        result = self._extend(instruction & (2**32 - 2**12), 2**31)
        if opcode == AUIPC:
            result = unsafe_add(result, pc)

    elif opcode == JAL:
        high_bits: uint256 = (instruction >> 31) << 20 | ((instruction >> 12) & 255) << 12
        low_bits: uint256 = ((instruction >> 20) & 1) << 11 | ((instruction >> 21) & 1023) << 1
        result = next_pc
        next_pc = unsafe_add(pc, self._extend(high_bits | low_bits, 2**20))

    elif opcode == JALR and funct3 == 0:
        result = next_pc
        next_pc = unsafe_add(a, immediate) & ~1

    elif opcode == MISC_MEM and funct3 == 0:
        rd = 0

    elif instruction == ECALL:
        if extract32(state, 8 * 17, output_type=uint256) >> 192 == EXIT:
            self._end(len(witness), at)
            return pre_hash, self._stopped(state, HALTED, extract32(state, 8 * 10, output_type=uint256) >> 192)
        cause = ENVIRONMENT_CALL

    elif instruction == EBREAK:
        cause = BREAKPOINT

    else:
        cause = ILLEGAL

    if next_pc & 3 != 0:
        cause = FETCH_MISALIGNED
    self._end(len(witness), at)
    if cause != max_value(uint256):
        return pre_hash, self._stopped(state, TRAPPED, cause)
    if rd == 0:  # then x1 gets what it has
        rd = 1
        result = extract32(state, 8, output_type=uint256) >> 192
    after: uint256 = (rd + 1) * 8
    return pre_hash, keccak256(
        concat(
            self._bytes8(next_pc),
            slice(state, 8, unsafe_sub(after, 16)),
            self._bytes8(result),
            slice(state, after, unsafe_sub(256, after)),
            slice(state, 256, 9),
            root,
        )
    )


@internal
@view
def _access(
    witness: Bytes[WITNESS_BYTES], start: uint256, index: uint256, root: bytes32, window: uint256, bytes_in: uint256
) -> (uint256, bytes32, uint256):
    # The leaf as it was, the root after the bits under `window` became `bytes_in`, and where the next access begins.
    at: uint256 = unsafe_add(start, ACCESS_BYTES)
    if at > len(witness):
        self._fail(TRUNCATED)
    leaf: uint256 = extract32(witness, start, output_type=uint256)
    sent: uint256 = extract32(witness, unsafe_add(start, 5), output_type=uint256) & (2**40 - 1)
    if sent >> DEPTH != 0:
        self._fail(BITMAP)
    old: bytes32 = convert(leaf, bytes32)
    new: bytes32 = convert(leaf & ~window | bytes_in, bytes32)
    bit: uint256 = 1  # of the bitmap: the sibling is sent; of the index: the node is a right child
    for zero: bytes32 in ZERO:
        sibling: bytes32 = zero
        if sent & bit != 0:
            if unsafe_add(at, 32) > len(witness):
                self._fail(TRUNCATED)
            sibling = extract32(witness, at)
            if sibling == zero:
                self._fail(ZERO_SIBLING)
            at = unsafe_add(at, 32)
        if index & bit == 0:
            old = keccak256(abi_encode(old, sibling))
            if window != 0:
                new = keccak256(abi_encode(new, sibling))
        else:
            old = keccak256(abi_encode(sibling, old))
            if window != 0:
                new = keccak256(abi_encode(sibling, new))
        bit <<= 1
    if old != root:
        self._fail(ROOT)
    return leaf, new if window != 0 else old, at


@internal
@pure
def _compute(funct7: uint256, funct3: uint256, a: uint256, b: uint256, width: uint256) -> uint256:
    # The integer instructions on numbers of `width` bits, 64 or 32; the result is sign extended to 64 bits.
    # Unsigned forms ua, ub are below 2^width; signed ones sa, sb are two's complements in 256 bits. All sums and products are
    # meant mod 2^256, of which the low bits are the right ones.
    sign: uint256 = 1 << unsafe_sub(width, 1)
    mask: uint256 = unsafe_sub(sign << 1, 1)
    ua: uint256 = a & mask
    ub: uint256 = b & mask
    sa: uint256 = unsafe_sub(ua ^ sign, sign)
    sb: uint256 = unsafe_sub(ub ^ sign, sign)
    amount: uint256 = b & unsafe_sub(width, 1)
    result: uint256 = 0
    if funct7 == MULDIV:
        if funct3 == 0:  # MUL
            result = unsafe_mul(ua, ub)
        elif funct3 == 1:  # MULH
            result = unsafe_mul(sa, sb) >> 64
        elif funct3 == 2:  # MULHSU
            result = unsafe_mul(sa, ub) >> 64
        elif funct3 == 3:  # MULHU
            result = unsafe_mul(ua, ub) >> 64
        elif ub == 0:  # DIV, DIVU: all ones; REM, REMU: the dividend
            result = mask if funct3 < 6 else ua
        elif funct3 == 4:  # DIV; -2^(width-1) / -1 is 2^(width-1), which the cut makes the dividend
            result = self._word(unsafe_div(self._signed(sa), self._signed(sb)))
        elif funct3 == 5:  # DIVU
            result = unsafe_div(ua, ub)
        elif funct3 == 6:  # REM
            result = self._word(self._signed(sa) % self._signed(sb))
        else:  # REMU
            result = ua % ub
    elif funct3 == 0:  # ADD, SUB
        result = unsafe_add(ua, ub) if funct7 == BASE else unsafe_sub(ua, ub)
    elif funct3 == 1:  # SLL
        result = ua << amount
    elif funct3 == 2:  # SLT; exchanging the two halves of the numbers turns their signed order into the unsigned one
        result = 1 if (ua ^ sign) < (ub ^ sign) else 0
    elif funct3 == 3:  # SLTU
        result = 1 if ua < ub else 0
    elif funct3 == 4:  # XOR
        result = ua ^ ub
    elif funct3 == 5:  # SRL, SRA: of sa the sign bits that come in are there already
        result = (ua if funct7 == BASE else sa) >> amount
    elif funct3 == 6:  # OR
        result = ua | ub
    else:  # AND
        result = ua & ub
    return self._extend(result & mask, sign)


@internal
@pure
def _compare(funct3: uint256, a: uint256, b: uint256) -> bool:
    # Equal, less, or less unsigned: what BEQ, BLT and BLTU ask; the odd funct3 ask for the contrary.
    if funct3 < 4:
        return a == b
    if funct3 < 6:
        return (a ^ SIGN64) < (b ^ SIGN64)
    return a < b


@internal
@pure
def _extend(number: uint256, sign: uint256) -> uint256:
    # Sign extension to 64 bits of a number below 2 * sign, where `sign` is its sign bit; mod 2^256 before the cut.
    return unsafe_sub(number ^ sign, sign) & MASK64


@internal
@pure
def _reverse(number: uint256) -> uint256:
    # The eight bytes of a 64-bit number in the other order.
    n: uint256 = (number & BYTES) << 8 | (number >> 8) & BYTES
    n = (n & PAIRS) << 16 | (n >> 16) & PAIRS
    return (n & (2**32 - 1)) << 32 | n >> 32


@internal
@pure
def _stopped(state: Bytes[STATE_BYTES], kind: uint256, status_value: uint256) -> bytes32:
    # Hash of the state with another status and no other change.
    kind_byte: bytes1 = convert(convert(kind, uint8), bytes1)
    return keccak256(concat(slice(state, 0, 256), kind_byte, self._bytes8(status_value), slice(state, 265, 32)))


@internal
@pure
def _bytes8(number: uint256) -> bytes8:
    return convert(convert(number & MASK64, uint64), bytes8)


@internal
@pure
def _signed(word: uint256) -> int256:
    # The same 256 bits as a signed number; a direct conversion would refuse half of them.
    return convert(convert(word, bytes32), int256)


@internal
@pure
def _word(number: int256) -> uint256:
    return convert(convert(number, bytes32), uint256)


@internal
@pure
def _end(length: uint256, at: uint256):
    # The reader of the witness must have come to its end.
    if at != length:
        self._fail(TRAILING)


@internal
@pure
def _fail(number: uint256):
    # Reverts as `error OpmlError(uint256 number)` would.
    raw_revert(abi_encode(number, method_id=method_id("OpmlError(uint256)")))
