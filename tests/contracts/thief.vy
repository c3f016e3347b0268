#pragma version 0.4.3
"""
@title A receiver that asks for its money again while it is being paid, or refuses to be paid
"""

interface Game:
    def request(model_id: bytes32, stage_count: uint64, data: Bytes[32], deadline: uint64, bond: uint256, server: address) -> bytes32: payable
    def reclaim(request_id: bytes32): nonpayable
    def withdraw_to(to: address): nonpayable

game: Game
request_id: public(bytes32)
greedy: bool
attempts: public(uint256)
successes: public(uint256)


@deploy
def __init__(game: address):
    self.game = Game(game)


@external
@payable
def ask(model_id: bytes32, deadline: uint64, bond: uint256):
    self.request_id = extcall self.game.request(model_id, 1, b"", deadline, bond, empty(address), value=msg.value)


@external
def take_back():
    extcall self.game.reclaim(self.request_id)


@external
def steal(greedy: bool):
    self.greedy = greedy
    extcall self.game.withdraw_to(self)


@external
@payable
def __default__():
    assert self.greedy
    self.attempts += 1
    if raw_call(self.game.address, abi_encode(self, method_id=method_id("withdraw_to(address)")), revert_on_failure=False):
        self.successes += 1
