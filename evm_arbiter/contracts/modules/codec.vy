#pragma version 0.4.3
"""
@title Codec: numbered errors, byte order, encodings of a machine state
@notice What both contracts read and write. A state is 297 bytes: pc and x1 … x31, 8 bytes each, big-endian; kind of status, 1 byte;
        value of the status, 8 bytes; memory root, 32 bytes.
        Source: spec §2.1, §2.5 and §0.6.
"""

STATE_BYTES: constant(uint256) = 297
STATUS: constant(uint256) = 256  # where kind and value begin
ROOT: constant(uint256) = 265  # where the memory root begins

RUNNING: constant(uint256) = 0  # kinds of status
HALTED: constant(uint256) = 1
TRAPPED: constant(uint256) = 2
CAUSES: constant(uint256) = 431  # 0b110101111, bit c: a trap has the cause c

WITNESS_TRUNCATED: constant(uint256) = 101
STATE_UNDECODABLE: constant(uint256) = 102
WITNESS_BITMAP: constant(uint256) = 103
WITNESS_ZERO_SIBLING: constant(uint256) = 104
WITNESS_ROOT: constant(uint256) = 105
WITNESS_TRAILING: constant(uint256) = 106

MASK64: constant(uint256) = 2**64 - 1
BYTES: constant(uint256) = MASK64 // 257  # 0x00FF00FF00FF00FF
PAIRS: constant(uint256) = MASK64 // 65537  # 0x0000FFFF0000FFFF


@internal
@pure
def fail(number: uint256):
    """Reverts as `error OpmlError(uint256 number)` would, which Vyper cannot declare."""
    raw_revert(abi_encode(number, method_id=method_id("OpmlError(uint256)")))


@internal
@pure
def reverse(number: uint256) -> uint256:
    """Returns the eight bytes of a 64-bit number in the other order."""
    n: uint256 = (number & BYTES) << 8 | (number >> 8) & BYTES
    n = (n & PAIRS) << 16 | (n >> 16) & PAIRS
    return (n & (2**32 - 1)) << 32 | n >> 32


@internal
@pure
def bytes8(number: uint256) -> bytes8:
    """Encodes the low 64 bits of a number, big-endian."""
    return convert(convert(number & MASK64, uint64), bytes8)


@internal
@pure
def status(bits: uint256) -> (uint256, uint256):
    """Splits the 72 bits of a status into kind and value; fails unless the machine has such a status."""
    kind: uint256 = bits >> 64
    status_value: uint256 = bits & MASK64
    if kind > TRAPPED or (kind == RUNNING and status_value != 0) or (kind == TRAPPED and (CAUSES >> status_value) & 1 == 0):
        self.fail(STATE_UNDECODABLE)
    return kind, status_value


@internal
@pure
def first_hash(entry: uint256, stage: uint256, memory_root: bytes32) -> bytes32:
    """Hashes the state that a stage begins in: pc = entry, x10 = stage, the other registers zero, running."""
    zero: bytes32 = empty(bytes32)
    before: Bytes[80] = concat(self.bytes8(entry), zero, zero, empty(bytes8))  # pc, x1 … x9
    after: Bytes[177] = concat(zero, zero, zero, zero, zero, empty(bytes8), empty(bytes9))  # x11 … x31, status
    return keccak256(concat(before, self.bytes8(stage), after, memory_root))


@internal
@pure
def stopped_hash(state: Bytes[STATE_BYTES], kind: uint256, status_value: uint256) -> bytes32:
    """Hashes the state with another status and no other change."""
    kind_byte: bytes1 = convert(convert(kind, uint8), bytes1)
    return keccak256(concat(slice(state, 0, STATUS), kind_byte, self.bytes8(status_value), slice(state, ROOT, 32)))
