"""Mutants of the game: one for each check, clock, amount and bound, in the contract and in the specification.

In the contract, one expression of the source is replaced and the source is compiled anew. In a module of the specification, one
expression is replaced too; the functions that differ then get the code of the changed ones, wherever they have been imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import getsource
from types import CodeType, FunctionType
from typing import Any

CONTRACT = (
    # deployment: each parameter's own limits, then the bounds
    ("K < 2 or K > MAX_K or ", "K < 2 or K > MAX_K + 1 or "),
    ("SHARE_NUMERATOR < 1 or ", ""),
    ("2 * SHARE_NUMERATOR > SHARE_DENOMINATOR", "2 * SHARE_NUMERATOR > SHARE_DENOMINATOR + 1"),
    ("p.share_denominator < 2**32", "p.share_denominator <= 2**32"),
    ("0 < p.window and p.window < year", "p.window <= year"),
    ("and p.grace < year", "and p.grace <= year"),
    ("0 < p.effort and", "0 <= p.effort and"),
    ("0 < p.inclusion and", "0 <= p.inclusion and"),
    ("1 <= p.claims_at_once and", "0 <= p.claims_at_once and"),
    ("and 1 <= p.second_price", "and 0 <= p.second_price"),
    ("p.gas_choose <= 80_000", "p.gas_choose <= 80_001"),
    ("100_000 <= p.gas_arbitrate", "99_999 <= p.gas_arbitrate"),
    ("p.window >= p.censorship + p.inclusion + p.detect", "p.window >= p.censorship + p.detect"),
    ("p.server_time >= p.censorship + moves * p.inclusion", "p.server_time >= p.censorship + (moves - 1) * p.inclusion"),
    ("convert(moves - 1, uint256) * choice", "convert(moves - 2, uint256) * choice"),
    ("and p.priority >= answer", "and p.priority >= p.effort"),
    ("and p.grace >= p.censorship + answer", "and p.grace >= p.censorship + p.effort"),
    ("(p.gas_choose + p.gas_arbitrate)", "(p.gas_arbitrate)"),
    ("max(p.gas_post, max(p.gas_open, p.gas_arbitrate))", "max(p.gas_post, p.gas_arbitrate)"),
    ("self._digits(k, STAGE_STEP_LIMIT) + 1", "self._digits(k, STAGE_STEP_LIMIT)"),
    # models, requests, claims
    ("stage_microseconds < 1 or stage_microseconds >= 2**32", "stage_microseconds < 1 or stage_microseconds > 2**32"),
    ("if self.models[model_id].line_word == 0:", "if True:"),
    ("wide_stage_count < 1 or wide_stage_count > MAX_STAGES", "wide_stage_count < 1 or wide_stage_count > MAX_STAGES + 1"),
    ("if len(data) > MAX_REQUEST_BYTES:", "if len(data) > MAX_REQUEST_BYTES + 1:"),
    ("wide_deadline < block.timestamp or", "wide_deadline <= block.timestamp or"),
    ("wide_deadline > block.timestamp + YEAR", "wide_deadline >= block.timestamp + YEAR"),
    ("if bond < convert(FIXED.min_bond, uint256) or", "if bond <= convert(FIXED.min_bond, uint256) or"),
    ("if work > YEAR:", "if work > 2 * YEAR:"),
    ("if msg.value < work * SECOND_PRICE or", "if msg.value <= work * SECOND_PRICE or"),
    ("+ MICROSECONDS - 1) // MICROSECONDS", ") // MICROSECONDS"),
    ("self.accounts[msg.sender] = account_word + 1", "self.accounts[msg.sender] = account_word"),
    ("if block.timestamp > (terms_word >> DEADLINE_BIT)", "if block.timestamp >= (terms_word >> DEADLINE_BIT)"),
    ("if server != empty(address) and server != msg.sender:", "if server == msg.sender and server == empty(address):"),
    ("        codec.fail(ALREADY_FINAL)", "        pass"),
    ("        codec.fail(CLAIM_EXISTS)", "        pass"),
    ("if checked_at == 0:\n        model_id", "if True:\n        model_id"),
    ("if checked_at == 0:\n        checked_at", "if True:\n        checked_at"),
    ("(self.requests[request_id].money_word >> BOND_BIT) + price:", "(self.requests[request_id].money_word >> BOND_BIT):"),
    ("closes_at: uint256 = max(block.timestamp, checked_at) + WINDOW", "closes_at: uint256 = block.timestamp + WINDOW"),
    ("if closes_at > convert(latest, uint256) or", "if closes_at >= convert(latest, uint256) or"),
    ("or closes_at >= TIME_LIMIT:", "or closes_at > TIME_LIMIT:"),
    ("max(block.timestamp, busy_until) + work", "block.timestamp + work"),
    ("self._burn(request_id, price)", "self._burn(request_id, 0)"),
    ("codec.bytes8(account_word & MASK32)", "codec.bytes8(account_word & MASK40)"),
    # moves
    ("if msg.value != self._root_bond(", "if msg.value < self._root_bond("),
    ("if block.timestamp >= self._closes_at(claim_word):", "if block.timestamp > self._closes_at(claim_word):"),
    ("        codec.fail(ROOT_EXISTS)", "        pass"),
    ("if msg.value != NODE_BOND:", "if msg.value < NODE_BOND:"),
    ("if self.nodes[node_id].commitment != self._commitment(segment, hashes):", "if len(hashes) == 0:"),
    ("if block.timestamp < since + PRIORITY and", "if block.timestamp <= since + PRIORITY and"),
    ("and convert(msg.sender, uint256) != place_word & MASK160:", "and msg.sender == empty(address):"),
    ("self._beyond(max(since, self._closes_at(turn.claim_word)))", "self._beyond(since)"),
    ("if used > (turn.clock_word >> CHALLENGERS_LEFT_BIT)", "if used >= (turn.clock_word >> CHALLENGERS_LEFT_BIT)"),
    ("if wide_part >= self._part_count(", "if wide_part > self._part_count("),
    ("        codec.fail(PART_CHOSEN)", "        pass"),
    ("turn.clock_word - (used << CHALLENGERS_LEFT_BIT)", "turn.clock_word"),
    ("max(block.timestamp, server_due) + EFFORT", "block.timestamp + EFFORT"),
    ("(due << DUE_BIT) | (block.timestamp << SINCE_BIT)", "(due << DUE_BIT)"),
    ("min(block.basefee, GAS_PRICE_CAP)", "block.basefee"),
    ("(1 << NODES_BIT) + (price << PRICES_BIT)", "(1 << NODES_BIT)"),
    ("if length < 2:", "if length < 3:"),
    ("if len(hashes) != 32 * (self._part_count(length) - 1):", "if len(hashes) > 32 * (self._part_count(length) - 1):"),
    ("if segment.phase != STAGES or segment.hi - segment.lo != 1:", "if segment.hi - segment.lo != 1:"),
    ("if start_status > FAILED or ", "if start_status > FAILED and "),
    ("if shown.agreed == shown.disputed:", "if shown.agreed != shown.disputed:"),
    ("if steps < 1 or ", "if "),
    ("convert(steps, uint256) > STAGE_STEP_LIMIT:", "convert(steps, uint256) >= STAGE_STEP_LIMIT:"),
    ("if len(hashes) != 32 * (self._part_count(steps) - 1):", "if len(hashes) < 32 * (self._part_count(steps) - 1):"),
    ("OPEN if steps == 1 else POSTED", "POSTED"),
    ("if segment.phase != INSTRUCTIONS or ", "if "),
    ("if before != segment.agreed:", "if False:"),
    ("if after == segment.disputed:", "if after != segment.disputed:"),
    ("self._late(turn) <= self._server_left", "self._late(turn) < self._server_left"),
    ("    if turn.claim_word >> STATUS_BIT != PENDING:\n", "    if False:\n"),
    ("if server_only and msg.sender != ", "if server_only and msg.sender == empty(address) and msg.sender != "),
    ("if turn.late > self._server_left", "if turn.late >= self._server_left"),
    ("if self._seal(run_hash, self._server(turn.claim_word)) != disputed:", "if False:"),
    ("if kind == codec.RUNNING and ", "if kind == codec.TRAPPED and "),
    ("if merkle.node(left_root, final_carry) != extract32(final_state, codec.ROOT):", "if False:"),
    ("ended_well: bool = kind == codec.HALTED and status_value == 0", "ended_well: bool = kind == codec.HALTED"),
    ("convert(stage, uint256), memory_root)", "0 * convert(stage, uint256), memory_root)"),
    ("clock_word -= turn.late << SERVER_LEFT_BIT", "clock_word -= 0"),
    (" + ((block.timestamp - self._since(clock_word)) << SINCE_BIT)", ""),
    ("alone: uint256 = self._since(turn.clock_word) + EFFORT", "alone: uint256 = self._since(turn.clock_word)"),
    ("if alone < due and alone < block.timestamp:", "if alone < due and due < block.timestamp:"),
    ("        if lost_at != 0:", "        if False:"),
    ("        if lost_at != 0:", "        if True:"),
    ("min(due, max(alone, lost_at + EFFORT))", "max(alone, lost_at + EFFORT)"),
    ("max(alone, lost_at + EFFORT)", "alone"),
    ("max(alone, lost_at + EFFORT)", "lost_at + EFFORT"),
    ("max(alone, lost_at + EFFORT)", "max(alone, lost_at)"),
    ("if account_word >> LOST_AT_BIT == 0:", "if self._server_due(account_word) == 0:"),
    ("if account_word >> LOST_AT_BIT == 0:", "if True:"),
    ("node_id=node_id, at=convert(block.timestamp, uint64)", "node_id=node_id, at=0"),
    ("follows_until: uint256 = block.timestamp\n", "follows_until: uint256 = 0\n"),
    ("max(block.timestamp, self._closes_at(turn.claim_word)) + (", "block.timestamp + ("),
    ("max(settles_at, follows_until) - settles_at", "follows_until - settles_at"),
    ("bond - depth * share - gas * prices)", "bond - depth * share)"),
    ("share: uint256 = self._phi(bond) // depth", "share: uint256 = bond // 2 // depth"),
    ("gas = min(gas, (bond - depth * share) // prices)", "gas = gas"),
    ("convert(part * length // parts, uint64)", "convert(part * (length // parts), uint64)"),
    # ends
    ("if block.timestamp < self._closes_at(claim_word):", "if block.timestamp <= self._closes_at(claim_word):"),
    ("if block.timestamp <= tree_word & MASK40:", "if block.timestamp < tree_word & MASK40:"),
    ("if status > FAILED or ", "if status > FAILED and "),
    ("if not first and ", "if first and "),
    ("if len(output) + len(proof) != 0:", "if len(output) != 0:"),
    ("if len(output) % 32 != 0 or ", "if "),
    ("if tokens > MAX_OUTPUT_COUNT else OK", "if tokens >= MAX_OUTPUT_COUNT else OK"),
    ("1 + (tokens + 7) // 8", "1 + tokens // 8"),
    ("if count < needed or spare:", "if count < needed:"),
    ("(node_count - 1) * NODE_BOND", "node_count * NODE_BOND"),
    ("self._credit(server, claim_id, bond + won)", "self._credit(server, claim_id, bond)"),
    ("if block.timestamp <= settled + convert(FIXED.grace, uint256):", "if block.timestamp < settled + convert(FIXED.grace, uint256):"),
    ("settled: uint256 = max(self._closes_at(claim_word), tree_word & MASK40)", "settled: uint256 = self._closes_at(claim_word)"),
    ("paid: uint256 = self._phi(bond)", "paid: uint256 = bond"),
    (" or turn.clock_word >> COLLECTED_BIT != 0:", ":"),
    ("if turn.claim_word >> STATUS_BIT != REJECTED or ", "if turn.claim_word >> STATUS_BIT == FINAL or "),
    ("if place_word >> DEPTH_BIT == 1 else NODE_BOND", "if place_word >> DEPTH_BIT == 0 else NODE_BOND"),
    ("            burned = refund", "            credit += refund"),
    ("            credit += refund", "            credit += 0"),
    ("            credit += share", "            credit += 0"),
    ("(end_depth - depth)) == self._path(place_word)", "(end_depth - depth)) >= self._path(place_word)"),
    ("return depth <= end_depth and ", "return depth > end_depth or "),
    ("if progress_word >> OUTCOME_BIT == 0 or not self._is_next", "if not self._is_next"),
    ("if status == PENDING and block.timestamp", "if status == REJECTED and block.timestamp"),
    ("block.timestamp <= self._closes_at(claim_word) + HOLD", "block.timestamp < self._closes_at(claim_word) + HOLD"),
    ("if self.claims[claim_id].sealed == self._seal(self.requests[request_id].run_hash, server):", "if True:"),
    (" * EFFORT\n        + convert(p.grace, uint256)", " * EFFORT"),
    (" and (progress_word >> FEE_PAID_BIT) & MASK8 == 0", ""),
    ("if block.timestamp <= waiting_until or", "if block.timestamp < waiting_until or"),
    ("if (progress_word >> PENDING_BIT) & MASK32 != 0:", "if False:"),
    ("max(waiting_until, progress_word & codec.MASK64) + WINDOW", "waiting_until + WINDOW"),
    ("progress_word & codec.MASK64) + WINDOW + HOLD", "progress_word & codec.MASK64) + WINDOW"),
    ("self.accounts[msg.sender] = account_word - (amount << CREDITED_BIT)", "self.accounts[msg.sender] = account_word"),
    ("max(NODE_BOND, bond // 8)", "bond // 8"),
)
"""Expressions that occur once in the game's source, and what replaces them."""

SPECIFICATION = (
    ("clocks", "max(now, server_due) + effort", "now + effort"),
    ("clocks", "if lost_at else self.due", "if False else self.due"),
    ("clocks", "if lost_at else self.due", "if True else self.due"),
    ("clocks", "min(self.due, max(self.since, lost_at) + effort)", "max(self.since, lost_at) + effort"),
    ("clocks", "max(self.since, lost_at) + effort", "self.since + effort"),
    ("clocks", "max(self.since, lost_at) + effort", "lost_at + effort"),
    ("clocks", "max(self.since, lost_at) + effort", "max(self.since, lost_at)"),
    ("clocks", "self.server_left - late", "self.server_left"),
    ("clocks", "late, since=now)", "late)"),
    ("clocks", "return max(self.since, closes_at)", "return self.since"),
    ("clocks", "self.start(closes_at)), now)", "self.start(closes_at)), 0)"),
    ("clocks", "self.challengers_left - max(0, now - self.start(closes_at))", "self.challengers_left"),
    ("claims", "1 <= stage_microseconds < 1 << 32", "0 <= stage_microseconds < 1 << 32"),
    ("claims", "if identity in court.models:", "if False:"),
    ("claims", "1 <= stage_count <= MOST_STAGES", "1 <= stage_count < MOST_STAGES"),
    ("claims", "message.now <= deadline <= message.now + YEAR", "message.now < deadline <= message.now + YEAR"),
    ("claims", "parameters.min_bond <= bond < WEI_LIMIT", "parameters.min_bond < bond < WEI_LIMIT"),
    ("claims", "if model.work(stage_count) > YEAR:", "if False:"),
    ("claims", "<= fee < WEI_LIMIT", "< fee < WEI_LIMIT"),
    ("claims", "if message.now > asked.deadline:", "if message.now >= asked.deadline:"),
    ("claims", "if asked.result is not None:", "if False:"),
    ("claims", "if claim_id in court.claims:", "if False:"),
    ("claims", "if asked.claims == 0:", "if True:"),
    ("claims", "if closes_at > latest or", "if closes_at >= latest or"),
    ("claims", "or closes_at >= TIME_LIMIT", "or closes_at > TIME_LIMIT"),
    ("claims", "max(now, model.busy_until) + model.work", "now + model.work"),
    ("claims", "return 0 if asked.claims else", "return"),
    ("claims", "deposit(message.value).burn(price)", "deposit(message.value)"),
    ("objects", "-(-stage_count * self.stage_microseconds // MICROSECONDS)", "stage_count * self.stage_microseconds // MICROSECONDS"),
    ("objects", "return other.path[: len(self.path)] == self.path", "return len(self.path) <= len(other.path)"),
    ("moves", "if message.now >= disputed.closes_at:", "if message.now > disputed.closes_at:"),
    ("moves", "if disputed.nodes:", "if disputed.open_nodes:"),
    ("moves", "if segment.commitment(b\"\") != node.commitment:", "if False:"),
    ("moves", "if segment.commitment(hashes) != node.commitment:", "if False:"),
    ("moves", "if message.sender != court.claims[node.claim_id].server:", "if False:"),
    ("moves", "if not server_in_time(court, node, message.now):\n        raise OutOfTime\n    return node", "return node"),
    ("moves", "if not server_in_time(court, node, message.now):\n        raise OutOfTime\n    if segment", "if segment"),
    ("moves", "if seal(run_hash, claim.server) != claim.sealed:", "if False:"),
    ("moves", "if segment.length < 2:", "if segment.length < 1:"),
    ("moves", "if message.now < node.clock.since +", "if message.now <= node.clock.since +"),
    ("moves", "if message.now > node.clock.last_choice(", "if message.now >= node.clock.last_choice("),
    ("moves", "0 <= part < part_count(", "0 <= part <= part_count("),
    ("moves", "if before != segment.agreed:", "if False:"),
    ("moves", "if after == segment.disputed else fall", "if after != segment.disputed else fall"),
    ("moves", "stays = disputed.agreed == disputed.disputed", "stays = True"),
    ("opening", "1 <= steps <= STAGE_STEP_LIMIT", "1 <= steps < STAGE_STEP_LIMIT"),
    ("opening", "and steps != STAGE_STEP_LIMIT", "and steps == STAGE_STEP_LIMIT"),
    ("opening", "stage_start(model_root, start.carry, segment.lo)", "stage_start(model_root, start.carry, 0)"),
    ("tree", "min(message.basefee, court.parameters.gas_price_cap)", "message.basefee"),
    ("tree", "prices=claim.prices + price", "prices=claim.prices"),
    ("tree", "settles_at=max(claim.settles_at, settles_at)", "settles_at=settles_at"),
    ("tree", "clock=answered_clock(court, node, now)), now)", "clock=answered_clock(court, node, now)), 0)"),
    ("tree", "return late(court, node, now) <= node.clock.server_left", "return late(court, node, now) < node.clock.server_left"),
    ("tree", "now, **court.server_lost_at}", "now}"),
    ("tree", "parameters.challenger_time, message.now)", "parameters.challenger_time, 0)"),
    ("money", "parameters.share(bond) // depth", "parameters.share(bond)"),
    ("money", "min(parameters.gas_choose, pool // prices) if prices", "parameters.gas_choose if prices"),
    ("money", "pool - gas * prices", "pool"),
    ("narrowing", "return lo + j * length // parts", "return lo + j * (length // parts)"),
    ("ends", "if message.now < stands.closes_at:", "if message.now <= stands.closes_at:"),
    ("ends", "if message.now <= stands.settles_at:", "if message.now < stands.settles_at:"),
    ("ends", "if asked.run_hash not in (None, last.run_hash):", "if False:"),
    ("ends", "if message.now <= max(claim.closes_at,", "if message.now < max(claim.closes_at,"),
    ("ends", " or node.collected:", ":"),
    ("ends", "wei + settled.share, ledger.burn(node.price * settled.gas)", "wei + settled.share, ledger"),
    ("ends", "wei += node.price * settled.gas", "wei += settled.gas"),
    ("ends", "or asked.fee_paid or claim.index != asked.next_award", "or claim.index != asked.next_award"),
    ("ends", "holds = claim.status is ClaimStatus.PENDING and", "holds = claim.status is ClaimStatus.REJECTED and"),
    ("ends", "now <= claim.closes_at + court.parameters.hold", "now < claim.closes_at + court.parameters.hold"),
    ("ends", "return not holds or claim.sealed != seal(asked.run_hash, claim.server)", "return not holds"),
    ("ends", "next_award=asked.next_award + 1", "next_award=asked.next_award + 2"),
    ("ends", "if message.now <= asked.deadline or", "if message.now < asked.deadline or"),
    ("ends", "held = asked.pending > 0 and", "held = False and"),
    ("ends", "max(asked.deadline, asked.checked_at) + parameters.window", "asked.deadline + parameters.window"),
    ("ends", "message.now <= last_close + parameters.hold", "message.now < last_close + parameters.hold"),
    ("result", "1 if count > MOST_TOKENS else", "1 if count >= MOST_TOKENS else"),
    ("result", "if leaves < needed or (count", "if (count"),
    ("parameters", "max(self.node_bond, claim_bond // 8)", "claim_bond // 8"),
    ("parameters", "self.most_nodes * self.effort + self.grace", "self.most_nodes * self.effort"),
    ("parameters", "+ (nodes - 1) * self.node_bond if nodes", "+ nodes * self.node_bond if nodes"),
    ("parameters", "self.censorship + (self.most_nodes - 1) * choice", "self.censorship + (self.most_nodes - 2) * choice"),
    ("parameters", "self.priority >= self.inclusion + self.effort", "self.priority >= self.effort"),
    ("parameters", "2 * self.share_numerator <= self.share_denominator", "2 * self.share_numerator <= self.share_denominator + 1"),
)
"""Module of the specification's dispute, an expression that occurs once in it, and what replaces it."""


@contextmanager
def changed(module_name: str, right: str, wrong: str) -> Iterator[None]:
    """The specification with one expression replaced, while this is entered."""
    module: Any = import_module(f"opml_spec.dispute.{module_name}")
    text = getsource(module)
    if text.count(right) != 1:
        raise ValueError(f"{module_name} has {right!r} {text.count(right)} times")
    names = {**vars(module)}
    exec(compile(text.replace(right, wrong), module.__file__, "exec", dont_inherit=True), names)
    kept = list[tuple[FunctionType, CodeType]]()
    try:
        for old, new in pairs(vars(module), names, module.__file__):
            kept.append((old, old.__code__))
            old.__code__ = new.__code__
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def pairs(old: Any, new: Any, file: str) -> Iterator[tuple[FunctionType, FunctionType]]:
    """Yields the functions, methods and properties that are written in this file, next to their counterparts of the same name."""
    for name, it in [*old.items()]:
        other = new.get(name)
        if isinstance(it, property):
            it, other = it.fget, other.fget
        if isinstance(it, FunctionType) and it.__code__.co_filename == file and it.__code__ != other.__code__:
            yield it, other
        elif isinstance(it, type) and it.__module__ == old.get("__name__"):
            yield from pairs(vars(it), vars(other), file)
