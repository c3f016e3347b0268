#pragma version 0.4.3
"""
@title Bounds: what a deployment of the game fixes, and what its constructor demands of that
@notice Each parameter has limits of its own, which keep all sums below from overflowing. Beyond these, times and bonds
        must suffice for honest sides.
        Source: spec §5.9.
"""

YEAR: constant(uint256) = 31_536_000  # seconds
MAX_K: constant(uint256) = 64
MAX_STAGES: constant(uint256) = 2**24
STAGE_STEP_LIMIT: constant(uint256) = 2**32


struct Parameters:  # times in seconds, money in wei; spec §5.9
    k: uint64
    share_numerator: uint64
    share_denominator: uint64
    window: uint64
    server_time: uint64
    challenger_time: uint64
    priority: uint64
    grace: uint64
    effort: uint64
    censorship: uint64
    inclusion: uint64
    detect: uint64
    claims_at_once: uint64
    min_bond: uint128
    node_bond: uint128
    second_price: uint64
    gas_post: uint64
    gas_open: uint64
    gas_choose: uint64
    gas_arbitrate: uint64
    gas_price_cap: uint64


@internal
@view
def suffice(p: Parameters) -> bool:
    """Finds whether parameters keep all bounds. k and the shares must be in their ranges."""
    return self._in_range(p) and self._times_suffice(p) and self._bonds_suffice(p)


@internal
@pure
def part_bits(k: uint256) -> uint256:
    """Counts the bits of a part in a path."""
    return self._digits(2, k)


@internal
@pure
def _in_range(p: Parameters) -> bool:
    """Compares each parameter with its own limits."""
    year: uint64 = convert(YEAR, uint64)
    return (
        p.share_denominator < 2**32
        and 0 < p.window and p.window < year
        and p.server_time < year
        and p.challenger_time < year
        and p.priority < year
        and p.grace < year
        and 0 < p.effort and p.effort < year
        and p.censorship < year
        and 0 < p.inclusion and p.inclusion < year
        and p.detect < year
        and 1 <= p.claims_at_once and p.claims_at_once < 2**32
        and 1 <= p.second_price
        and 50_000 <= p.gas_post and p.gas_post < 2**32
        and 50_000 <= p.gas_open and p.gas_open < 2**32
        and 20_000 <= p.gas_choose and p.gas_choose <= 80_000
        and 100_000 <= p.gas_arbitrate and p.gas_arbitrate < 2**32
        and 1 <= p.gas_price_cap
    )


@internal
@view
def _times_suffice(p: Parameters) -> bool:
    """Checks that honest sides have time enough, for parameters in their ranges."""
    answer: uint64 = p.inclusion + p.effort  # until an answer or a choice is in the chain
    moves: uint64 = self.longest_path(convert(p.k, uint256))
    choice: uint256 = convert(p.priority + p.inclusion, uint256) + convert(p.claims_at_once, uint256) * convert(p.effort, uint256)
    return (
        p.window >= p.censorship + p.inclusion + p.detect
        and p.server_time >= p.censorship + moves * p.inclusion
        and convert(p.challenger_time, uint256) >= convert(p.censorship, uint256) + convert(moves - 1, uint256) * choice
        and p.priority >= answer
        and p.grace >= p.censorship + answer
    )


@internal
@view
def _bonds_suffice(p: Parameters) -> bool:
    """Checks that what a lost bond pays out covers the gas of winning it, for parameters in their ranges."""
    cap: uint256 = convert(p.gas_price_cap, uint256)
    path_gas: uint256 = convert(self.longest_path(convert(p.k, uint256)) * (p.gas_choose + p.gas_arbitrate), uint256)
    answer_gas: uint256 = convert(max(p.gas_post, max(p.gas_open, p.gas_arbitrate)), uint256)
    return (
        convert(p.min_bond, uint256) * convert(p.share_numerator, uint256) // convert(p.share_denominator, uint256) >= path_gas * cap
        and convert(p.node_bond, uint256) * convert(p.share_numerator, uint256) // convert(p.share_denominator, uint256) >= answer_gas * cap
    )


@internal
@pure
def longest_path(k: uint256) -> uint64:
    """Counts the nodes of a path at most, R."""
    return convert(self._digits(k, MAX_STAGES) + self._digits(k, STAGE_STEP_LIMIT) + 1, uint64)


@internal
@pure
def _digits(base: uint256, count: uint256) -> uint256:
    """Finds the smallest n with base^n >= count."""
    reach: uint256 = 1
    for n: uint256 in range(33):
        if reach >= count:
            return n
        reach *= base
    return 33
