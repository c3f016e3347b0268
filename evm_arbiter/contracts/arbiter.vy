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
        Source: RISC-V unprivileged manual, RV64I and M; spec §2.
"""

from modules import codec
from modules import merkle

initializes: merkle

# --- Traps: spec §2.5 ---
FETCH_MISALIGNED: constant(uint256) = 0
FETCH_FAULT: constant(uint256) = 1
ILLEGAL: constant(uint256) = 2
BREAKPOINT: constant(uint256) = 3
LOAD_FAULT: constant(uint256) = 5
STORE_FAULT: constant(uint256) = 7
ENVIRONMENT_CALL: constant(uint256) = 8
NO_TRAP: constant(uint256) = 255  # the causes are below 16

# --- Memory map: spec §2.2 ---
MEMORY_BYTES: constant(uint256) = 2**40
ENTRY: constant(uint256) = 2**38  # also where the model quarter begins
MODEL_END: constant(uint256) = 2**39
LAST_TEXT: constant(uint256) = 2**28 - 4  # the last instruction that can be fetched, from ENTRY

SIGN64: constant(uint256) = 2**63

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


@deploy
def __init__():
    merkle.__init__()


@external
@view
def step(witness: Bytes[merkle.WITNESS_BYTES]) -> (bytes32, bytes32):
    """
    @notice Executes one step of the machine. Reverts with OpmlError unless the witness is the valid one for its memory root.
    @param witness The state, then each leaf that the step touches, in order, with bitmap and siblings: spec §2.5
    @return The hash of the state before the step and the hash of the state after it
    """
    if len(witness) < codec.STATE_BYTES:
        codec.fail(codec.WITNESS_TRUNCATED)
    state: Bytes[codec.STATE_BYTES] = slice(witness, 0, codec.STATE_BYTES)
    pre_hash: bytes32 = keccak256(state)
    at: uint256 = codec.STATE_BYTES  # how far the witness has been read
    kind: uint256 = 0
    status_value: uint256 = 0
    pc: uint256 = 0
    kind, status_value, pc = self._start(state)
    if kind != codec.RUNNING:
        self._end(len(witness), at)
        return pre_hash, codec.stopped_hash(state, kind, status_value)

    root: bytes32 = extract32(state, codec.ROOT)
    leaf: uint256 = 0
    leaf, root, at = merkle.access(witness, at, pc >> 5, root, 0, 0)
    word: uint256 = leaf >> unsafe_sub(224, (pc & 31) << 3)  # (pc & 31) <= 28: its four bytes, lowest address highest
    instruction: uint256 = codec.reverse(word & (2**32 - 1)) >> 32

    opcode: uint256 = instruction & 127
    rd: uint256 = (instruction >> 7) & 31
    rs1: uint256 = (instruction >> 15) & 31
    a: uint256 = 0 if rs1 == 0 else extract32(state, rs1 << 3, output_type=uint256) >> 192
    rs2: uint256 = (instruction >> 20) & 31
    b: uint256 = 0 if rs2 == 0 else extract32(state, rs2 << 3, output_type=uint256) >> 192
    next_pc: uint256 = unsafe_add(pc, 4)
    result: uint256 = 0  # what goes to rd
    cause: uint256 = NO_TRAP
    if opcode == OP or opcode == OP_IMM or opcode == OP_32 or opcode == OP_IMM_32:
        cause, result = self._arithmetic(instruction, a, b)
    elif opcode == LOAD or opcode == STORE:
        low: uint256 = 0
        width: uint256 = 0
        cause, low, width = self._range(instruction, a)
        if cause == NO_TRAP:
            # The bytes in the order of their addresses are one big number; its distance, in bits, to the end of the first leaf
            # is below zero (mod 2^256) if it reaches into the second, which then holds its last `over` bits.
            mask: uint256 = 0
            bits: uint256 = 0
            if opcode == STORE:
                mask = codec.MASK64 >> unsafe_sub(64, width)
                bits = codec.reverse(b) >> unsafe_sub(64, width)  # lowest address highest
            distance: uint256 = unsafe_sub(unsafe_sub(256, (low & 31) << 3), width)
            if distance > 256:
                over: uint256 = unsafe_sub(0, distance)
                rest: uint256 = unsafe_sub(256, over)
                leaf, root, at = merkle.access(witness, at, low >> 5, root, mask >> over, bits >> over)
                result = leaf << over
                leaf, root, at = merkle.access(witness, at, unsafe_add(low >> 5, 1), root, mask << rest, bits << rest)
                result |= leaf >> rest
            else:
                leaf, root, at = merkle.access(witness, at, low >> 5, root, mask << distance, bits << distance)
                result = leaf >> distance
            if opcode == LOAD:
                result = self._loaded(instruction, result, width)
    else:
        cause, result, next_pc = self._control(instruction, pc, a, b)
    if opcode == STORE or opcode == BRANCH or opcode == MISC_MEM:
        rd = 0
    self._end(len(witness), at)
    return pre_hash, self._write_back(state, next_pc, rd, result, cause, root)


@internal
@pure
def _start(state: Bytes[codec.STATE_BYTES]) -> (uint256, uint256, uint256):
    """Decodes the state: kind and value of its status, trapped already if no instruction can be fetched from its pc, and the pc."""
    kind: uint256 = 0
    status_value: uint256 = 0
    kind, status_value = codec.status(extract32(state, codec.STATUS, output_type=uint256) >> 184)
    pc: uint256 = extract32(state, 0, output_type=uint256) >> 192
    if kind == codec.RUNNING:
        if pc & 3 != 0:
            return codec.TRAPPED, FETCH_MISALIGNED, pc
        if unsafe_sub(pc, ENTRY) > LAST_TEXT:  # mod 2^256, so a pc below ENTRY is far above
            return codec.TRAPPED, FETCH_FAULT, pc
    return kind, status_value, pc


# --- Execution: a and b are the numbers in rs1 and rs2; if the cause is not NO_TRAP, what is returned with it means nothing ---


@internal
@pure
def _arithmetic(instruction: uint256, a: uint256, b: uint256) -> (uint256, uint256):
    """Executes OP, OP_IMM and their 32-bit forms: cause and result."""
    opcode: uint256 = instruction & 127
    funct3: uint256 = (instruction >> 12) & 7
    funct7: uint256 = instruction >> 25
    narrow: bool = opcode & 8 != 0
    second: uint256 = b
    legal: uint256 = BASE_32 if narrow else BASE_64
    if opcode & 32 == 0:
        second = self._extend(instruction >> 20, 2**11)
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
        return ILLEGAL, 0
    return NO_TRAP, self._compute(funct7, funct3, a, second, 32 if narrow else 64)


@internal
@pure
def _range(instruction: uint256, a: uint256) -> (uint256, uint256, uint256):
    """Finds what LOAD and STORE access: cause, lowest address, width in bits."""
    funct3: uint256 = (instruction >> 12) & 7
    size: uint256 = 1 << (funct3 & 3)
    writes: bool = instruction & 127 == STORE
    offset: uint256 = (instruction >> 25) << 5 | (instruction >> 7) & 31 if writes else instruction >> 20
    low: uint256 = unsafe_add(a, self._extend(offset, 2**11)) & codec.MASK64
    high: uint256 = unsafe_sub(unsafe_add(low, size), 1)
    cause: uint256 = NO_TRAP
    if funct3 > 6 or (writes and funct3 > 3):
        cause = ILLEGAL
    elif writes and (high >= MEMORY_BYTES or (high >= ENTRY and low < MODEL_END)):
        cause = STORE_FAULT
    elif high >= MEMORY_BYTES:
        cause = LOAD_FAULT
    return cause, low, size << 3


@internal
@pure
def _loaded(instruction: uint256, bits: uint256, width: uint256) -> uint256:
    """Turns the bits that a LOAD found at the end of `bits`, lowest address highest, into the number for the register."""
    number: uint256 = codec.reverse((bits << unsafe_sub(64, width)) & codec.MASK64)
    if (instruction >> 12) & 7 < 4:
        return self._extend(number, 1 << unsafe_sub(width, 1))
    return number


@internal
@pure
def _control(instruction: uint256, pc: uint256, a: uint256, b: uint256) -> (uint256, uint256, uint256):
    """Executes branches, jumps, LUI, AUIPC, fences and environment calls, and finds everything else illegal: cause, result and next pc."""
    opcode: uint256 = instruction & 127
    funct3: uint256 = (instruction >> 12) & 7
    following: uint256 = unsafe_add(pc, 4)
    result: uint256 = following
    next_pc: uint256 = following
    if opcode == BRANCH:
        if funct3 >> 1 == 1:
            return ILLEGAL, 0, following
        if self._compare(funct3, a, b) != (funct3 & 1 == 1):
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
        next_pc = unsafe_add(pc, self._extend(high_bits | low_bits, 2**20))
    elif opcode == JALR and funct3 == 0:
        next_pc = unsafe_add(a, self._extend(instruction >> 20, 2**11)) & ~1
    elif instruction == ECALL:
        return ENVIRONMENT_CALL, 0, following
    elif instruction == EBREAK:
        return BREAKPOINT, 0, following
    elif opcode != MISC_MEM or funct3 != 0:
        return ILLEGAL, 0, following
    return NO_TRAP if next_pc & 3 == 0 else FETCH_MISALIGNED, result, next_pc


@internal
@pure
def _write_back(
    state: Bytes[codec.STATE_BYTES], next_pc: uint256, rd: uint256, result: uint256, cause: uint256, root: bytes32
) -> bytes32:
    """Hashes the state after the instruction: halted by the environment call EXIT, trapped, or running on with its result in rd."""
    if cause == ENVIRONMENT_CALL and extract32(state, 8 * 17, output_type=uint256) >> 192 == EXIT:
        return codec.stopped_hash(state, codec.HALTED, extract32(state, 8 * 10, output_type=uint256) >> 192)
    if cause != NO_TRAP:
        return codec.stopped_hash(state, codec.TRAPPED, cause)
    register: uint256 = rd
    number: uint256 = result
    if rd == 0:  # then x1 gets what it has
        register = 1
        number = extract32(state, 8, output_type=uint256) >> 192
    after: uint256 = (register + 1) * 8
    return keccak256(
        concat(
            codec.bytes8(next_pc),
            slice(state, 8, unsafe_sub(after, 16)),
            codec.bytes8(number),
            slice(state, after, unsafe_sub(codec.STATUS, after)),
            slice(state, codec.STATUS, 9),
            root,
        )
    )


@internal
@pure
def _compute(funct7: uint256, funct3: uint256, a: uint256, b: uint256, width: uint256) -> uint256:
    """
    Computes an integer instruction on numbers of `width` bits, 64 or 32, and sign extends the result to 64 bits.
    Unsigned forms ua, ub are below 2^width; signed ones sa, sb are two's complements in 256 bits. All sums and products are
    meant mod 2^256, of which the low bits are the right ones.
    """
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
    """Compares: equal, less, or less unsigned. That is what BEQ, BLT and BLTU ask; the odd funct3 ask for the contrary."""
    if funct3 < 4:
        return a == b
    if funct3 < 6:
        return (a ^ SIGN64) < (b ^ SIGN64)
    return a < b


@internal
@pure
def _extend(number: uint256, sign: uint256) -> uint256:
    """Sign extends to 64 bits a number below 2 * sign, where `sign` is its sign bit; mod 2^256 before the cut."""
    return unsafe_sub(number ^ sign, sign) & codec.MASK64


@internal
@pure
def _signed(word: uint256) -> int256:
    """Reads the same 256 bits as a signed number; a direct conversion would refuse half of them."""
    return convert(convert(word, bytes32), int256)


@internal
@pure
def _word(number: int256) -> uint256:
    """Reads the same 256 bits as an unsigned number."""
    return convert(convert(number, bytes32), uint256)


@internal
@pure
def _end(length: uint256, at: uint256):
    """Fails unless the reader of the witness has come to its end."""
    if at != length:
        codec.fail(codec.WITNESS_TRAILING)
