#pragma version 0.4.3
#pragma evm-version prague
#pragma optimize gas
"""
@title The game: models, requests, claims against a bond, one dispute tree per claim, and the money of all of them
@notice A server claims the last hash of a run and stakes a bond on it. Whoever disagrees opens the claim's dispute tree. At each node
        the server answers once, for everybody: it posts the inner hashes of the disputed segment, opens the one stage that is left,
        or has the arbiter execute the one instruction that is left. Anybody may go on at any part that it disputes. The claim falls
        at the first node that the server fails. If it has failed none when time is up, the claim is final.
@dev    A node stores a commitment to its segment and to what is posted there; every move brings the preimage. Words that change
        together share a slot, packed by hand, since the gas of a move is mostly that of the slots it touches; their layouts stand
        with the storage. A node is exactly four slots, all fresh when it is opened: the ceiling of gas_choose rests on that.
        Source: spec §5.
"""

from modules import bounds
from modules import codec
from modules import merkle
from modules import objects

initializes: merkle


interface Arbiter:
    def step(witness: Bytes[merkle.WITNESS_BYTES]) -> (bytes32, bytes32): view


# --- Limits: spec §2.5, §3.2, §5.3, §5.4, §5.8, §5.9 ---
YEAR: constant(uint256) = bounds.YEAR
MICROSECONDS: constant(uint256) = 1_000_000  # of a second
MAX_REQUEST_BYTES: constant(uint256) = objects.MAX_REQUEST_BYTES
MAX_STAGES: constant(uint256) = bounds.MAX_STAGES
STAGE_STEP_LIMIT: constant(uint256) = bounds.STAGE_STEP_LIMIT
MAX_K: constant(uint256) = bounds.MAX_K
POSTED_BYTES: constant(uint256) = objects.POSTED_BYTES
MAX_OUTPUT_LEAVES: constant(uint256) = objects.MAX_OUTPUT_LEAVES
OUTPUT_BYTES: constant(uint256) = objects.OUTPUT_BYTES
MAX_OUTPUT_COUNT: constant(uint256) = 4096

# --- Memory: spec §2.2, §3.2 ---
ENTRY: constant(uint256) = 2**38
QUARTER_HEIGHT: constant(uint256) = 33
OUTPUT_INDEX: constant(uint256) = 2**23  # of the leaf of the io quarter where OUTPUT begins

# --- Encodings: spec §4, §5.2, §5.11 ---
OK: constant(uint8) = 0  # status of a run state; outcome
FAILED: constant(uint8) = 1
UNREADABLE: constant(uint8) = 2  # outcome
STAGES: constant(uint8) = 1  # phases
INSTRUCTIONS: constant(uint8) = 2
PENDING: constant(uint256) = 0  # of a claim
FINAL: constant(uint256) = 1
REJECTED: constant(uint256) = 2
OPEN: constant(uint256) = 1  # of a node
POSTED: constant(uint256) = 2
ANSWERED: constant(uint256) = 3

# --- Errors: spec §0.6; those of states and proofs are numbered in codec ---
UNKNOWN_MODEL: constant(uint256) = 201
UNKNOWN_REQUEST: constant(uint256) = 202
UNKNOWN_CLAIM: constant(uint256) = 203
UNKNOWN_NODE: constant(uint256) = 204
WRONG_VALUE: constant(uint256) = 205
STAGE_COUNT: constant(uint256) = 206
REQUEST_TOO_LONG: constant(uint256) = 207
DEADLINE: constant(uint256) = 208
NOT_THE_SERVER: constant(uint256) = 209
CLAIM_NOT_PENDING: constant(uint256) = 210
WINDOW_CLOSED: constant(uint256) = 211
WINDOW_OPEN: constant(uint256) = 212
NODES_OPEN: constant(uint256) = 213
STALE_COMMITMENT: constant(uint256) = 215
WRONG_TURN: constant(uint256) = 216
OUT_OF_TIME: constant(uint256) = 217
NOT_OUT_OF_TIME: constant(uint256) = 218
WRONG_MOVE: constant(uint256) = 219
WRONG_COUNT: constant(uint256) = 220
NO_SUCH_PART: constant(uint256) = 221
WRONG_START: constant(uint256) = 222
STEP_COUNT: constant(uint256) = 223
STILL_RUNNING: constant(uint256) = 224
WRONG_END: constant(uint256) = 225
WRONG_STATE: constant(uint256) = 226
WRONG_OUTPUT: constant(uint256) = 227
NOTHING_TO_COLLECT: constant(uint256) = 228
NOT_ALL_FAILED: constant(uint256) = 230
NOTHING_TO_WITHDRAW: constant(uint256) = 231
PARAMETERS: constant(uint256) = 232
PAYMENT_FAILED: constant(uint256) = 233
STAGE_TIME: constant(uint256) = 234
BOND_RANGE: constant(uint256) = 235
FEE_RANGE: constant(uint256) = 236
TOO_MUCH_WORK: constant(uint256) = 237
ALREADY_FINAL: constant(uint256) = 238
CLAIM_EXISTS: constant(uint256) = 239
TOO_LATE: constant(uint256) = 240
ROOT_EXISTS: constant(uint256) = 241
NOT_THE_OPENER: constant(uint256) = 242
PART_CHOSEN: constant(uint256) = 243
WRONG_SEAL: constant(uint256) = 244
UNSETTLED: constant(uint256) = 245
OTHER_RESULT: constant(uint256) = 246
NOT_EXPIRED: constant(uint256) = 247
NOTHING_TO_AWARD: constant(uint256) = 248
NO_RESULT: constant(uint256) = 249


# --- Storage. Fields of a packed word from bit 0 up, with their widths. ---
# No field can grow into the next one. Money is below 2^128 wei, since there is less ether. Times are seconds since 1970; a claim whose
# window does not close within 17,000 years is refused, and a server's due time grows by less than a year with each node.
# The requests of one account do not reach 2^32, since they would fill all blocks for years.
# The sum of prices stands at the top of its word: should it overflow, which takes base fees of a million gwei, the addition reverts.
TIME_LIMIT: constant(uint256) = 2**39  # of the end of a window: half of what its field holds, so that what follows the window fits as well
MASK8: constant(uint256) = 2**8 - 1
MASK32: constant(uint256) = 2**32 - 1
MASK40: constant(uint256) = 2**40 - 1
MASK56: constant(uint256) = 2**56 - 1
MASK76: constant(uint256) = 2**76 - 1
MASK128: constant(uint256) = 2**128 - 1
MASK160: constant(uint256) = 2**160 - 1


struct ModelSlots:
    model_root: bytes32
    state_root: bytes32
    line_word: uint256  # stage_microseconds 64, busy_until 64


struct RequestSlots:
    model_id: bytes32
    first_run_hash: bytes32
    terms_word: uint256  # requester 160, deadline 64, stage_count 32; never changes
    server: address
    money_word: uint256  # fee 128, bond 128; never changes
    progress_word: uint256  # checked_at 64, claims 32, pending 32, next_award 32, fee paid 8, 1 + outcome 8
    result: bytes32
    run_hash: bytes32
    output_hash: bytes32


struct ClaimSlots:
    request_id: bytes32
    sealed: bytes32
    claim_word: uint256  # server 160, closes_at 40, index 32, depth of the node at which it fell 8, status 8
    tree_word: uint256  # settles_at 40, open nodes 32, nodes 32, path of the node at which it fell 76, prices 76


struct NodeSlots:
    claim_id: bytes32
    commitment: bytes32
    place_word: uint256  # opener 160, path 76, unused 12, depth 8; never changes
    clock_word: uint256  # price 64, due 56, since 56, server_left 32, challengers_left 32, state 8, collected 8


BUSY_UNTIL_BIT: constant(uint256) = 64  # of a model
DEADLINE_BIT: constant(uint256) = 160  # of a request
STAGE_COUNT_BIT: constant(uint256) = 224
BOND_BIT: constant(uint256) = 128
CLAIMS_BIT: constant(uint256) = 64
PENDING_BIT: constant(uint256) = 96
NEXT_AWARD_BIT: constant(uint256) = 128
FEE_PAID_BIT: constant(uint256) = 160
OUTCOME_BIT: constant(uint256) = 168
CLOSES_AT_BIT: constant(uint256) = 160  # of a claim
INDEX_BIT: constant(uint256) = 200
END_DEPTH_BIT: constant(uint256) = 232
STATUS_BIT: constant(uint256) = 240
OPEN_NODES_BIT: constant(uint256) = 40
NODES_BIT: constant(uint256) = 72
END_PATH_BIT: constant(uint256) = 104
PRICES_BIT: constant(uint256) = 180
PATH_BIT: constant(uint256) = 160  # of a node
DEPTH_BIT: constant(uint256) = 248
DUE_BIT: constant(uint256) = 64
SINCE_BIT: constant(uint256) = 120
SERVER_LEFT_BIT: constant(uint256) = 176
CHALLENGERS_LEFT_BIT: constant(uint256) = 208
STATE_BIT: constant(uint256) = 240
COLLECTED_BIT: constant(uint256) = 248
CREDITED_BIT: constant(uint256) = 32  # of an account
SERVER_DUE_BIT: constant(uint256) = 160
LOST_AT_BIT: constant(uint256) = 216
DEPOSITS_BIT: constant(uint256) = 128  # of the books
PAID_OUT_BIT: constant(uint256) = 128

models: HashMap[bytes32, ModelSlots]
requests: HashMap[bytes32, RequestSlots]
claims: HashMap[bytes32, ClaimSlots]
nodes: HashMap[bytes32, NodeSlots]
accounts: HashMap[address, uint256]  # requests made 32, credited wei 128; as a server due 56, lost_at 40
held: uint256  # locked 128, deposits 128: what comes in changes both
gone: uint256  # burned 128, paid out 128

ARBITER: immutable(address)
FIXED: immutable(bounds.Parameters)
K: immutable(uint256)
PART_BITS: immutable(uint256)  # of a part in a path
SHARE_NUMERATOR: immutable(uint256)
SHARE_DENOMINATOR: immutable(uint256)
WINDOW: immutable(uint256)
PRIORITY: immutable(uint256)
EFFORT: immutable(uint256)
HOLD: immutable(uint256)  # how long after its end a pending claim may hold the fee
NODE_BOND: immutable(uint256)
SECOND_PRICE: immutable(uint256)
GAS_CHOOSE: immutable(uint256)
GAS_PRICE_CAP: immutable(uint256)


struct Turn:  # a node and its claim, as a move finds them
    claim_id: bytes32
    claim_word: uint256
    clock_word: uint256
    late: uint256  # seconds that the server is, where it owes an answer


# --- Deployment: spec §5.9 ---


@deploy
def __init__(arbiter: address, parameters: bounds.Parameters):
    p: bounds.Parameters = parameters
    ARBITER = arbiter
    FIXED = p
    K = convert(p.k, uint256)
    SHARE_NUMERATOR = convert(p.share_numerator, uint256)
    SHARE_DENOMINATOR = convert(p.share_denominator, uint256)
    WINDOW = convert(p.window, uint256)
    PRIORITY = convert(p.priority, uint256)
    EFFORT = convert(p.effort, uint256)
    NODE_BOND = convert(p.node_bond, uint256)
    SECOND_PRICE = convert(p.second_price, uint256)
    GAS_CHOOSE = convert(p.gas_choose, uint256)
    GAS_PRICE_CAP = convert(p.gas_price_cap, uint256)
    if not arbiter.is_contract or K < 2 or K > MAX_K or SHARE_NUMERATOR < 1 or 2 * SHARE_NUMERATOR > SHARE_DENOMINATOR:
        codec.fail(PARAMETERS)
    if not bounds.suffice(p):
        codec.fail(PARAMETERS)
    PART_BITS = bounds.part_bits(K)
    HOLD = (
        convert(p.server_time, uint256) + convert(p.challenger_time, uint256) + convert(bounds.longest_path(K), uint256) * EFFORT
        + convert(p.grace, uint256)
    )
    merkle.__init__()


# --- Models, requests, claims: spec §5.3 ---


@external
def register(model_root: bytes32, state_root: bytes32, stage_microseconds: uint64) -> bytes32:
    """
    @notice Makes a model known. Anybody may; registering it again changes nothing.
    @param model_root Root of the model quarter: program and weights
    @param state_root Root of the state quarter that every run begins with
    @param stage_microseconds The time that one stage takes a validator
    @return The id of the model
    """
    if stage_microseconds < 1 or stage_microseconds >= 2**32:
        codec.fail(STAGE_TIME)
    model_id: bytes32 = keccak256(concat(model_root, state_root, convert(stage_microseconds, bytes8)))
    if self.models[model_id].line_word == 0:
        self.models[model_id] = ModelSlots(model_root=model_root, state_root=state_root, line_word=convert(stage_microseconds, uint256))
    log objects.Registered(model_id=model_id, model_root=model_root, state_root=state_root, stage_microseconds=stage_microseconds)
    return model_id


@external
@payable
def request(
    model_id: bytes32, stage_count: uint64, data: Bytes[MAX_REQUEST_BYTES + 1], deadline: uint64, bond: uint256, server: address
) -> bytes32:
    """
    @notice Asks for a run of a model and locks the fee that comes with the call.
    @param model_id The model
    @param stage_count How many stages the run has
    @param data What the request says to the program
    @param deadline The last second in which the request can be claimed
    @param bond What each claim must stake: what the use of the result is worth
    @param server Who may claim it; zero if anybody may
    @return The id of the request
    """
    line_word: uint256 = self.models[model_id].line_word
    wide_stage_count: uint256 = convert(stage_count, uint256)
    wide_deadline: uint256 = convert(deadline, uint256)
    if line_word == 0:
        codec.fail(UNKNOWN_MODEL)
    if wide_stage_count < 1 or wide_stage_count > MAX_STAGES:
        codec.fail(STAGE_COUNT)
    if len(data) > MAX_REQUEST_BYTES:
        codec.fail(REQUEST_TOO_LONG)
    if wide_deadline < block.timestamp or wide_deadline > block.timestamp + YEAR:
        codec.fail(DEADLINE)
    if bond < convert(FIXED.min_bond, uint256) or bond > MASK128:
        codec.fail(BOND_RANGE)
    work: uint256 = self._work(line_word, wide_stage_count)
    if work > YEAR:
        codec.fail(TOO_MUCH_WORK)
    if msg.value < work * SECOND_PRICE or msg.value > MASK128:
        codec.fail(FEE_RANGE)

    request_id: bytes32 = self._new_request_id(
        concat(
            model_id, convert(stage_count, bytes8), convert(deadline, bytes8), convert(msg.value, bytes32), convert(bond, bytes32),
            convert(server, bytes20), keccak256(data)
        )
    )
    carry: bytes32 = merkle.node(self._io_root(wide_stage_count, data), self.models[model_id].state_root)
    self.requests[request_id].model_id = model_id
    self.requests[request_id].first_run_hash = self._run_hash(carry, OK)
    self.requests[request_id].terms_word = (
        convert(msg.sender, uint256) | (wide_deadline << DEADLINE_BIT) | (wide_stage_count << STAGE_COUNT_BIT)
    )
    self.requests[request_id].money_word = msg.value | (bond << BOND_BIT)
    if server != empty(address):
        self.requests[request_id].server = server
    self._deposit()
    log objects.Requested(
        request_id=request_id, model_id=model_id, requester=msg.sender, stage_count=stage_count, deadline=deadline,
        fee=msg.value, bond=bond, server=server, data=data
    )
    return request_id


@external
@payable
def claim(request_id: bytes32, sealed: bytes32, latest: uint64) -> bytes32:
    """
    @notice Claims what a run ends with, against the request's bond. The first claim of a request joins the line of its model, and brings
            the price of the time that it takes there, which is burned.
    @param request_id The request
    @param sealed Hash of the run hash and the sender, which reveals nothing to those who have not computed the run
    @param latest The last time at which the claim may close: the line may grow while a transaction waits
    @return The id of the claim
    """
    terms_word: uint256 = self.requests[request_id].terms_word
    if terms_word == 0:
        codec.fail(UNKNOWN_REQUEST)
    progress_word: uint256 = self.requests[request_id].progress_word
    checked_at: uint256 = progress_word & codec.MASK64
    model_id: bytes32 = empty(bytes32)
    work: uint256 = 0  # that joins the line
    if checked_at == 0:
        model_id = self.requests[request_id].model_id
        work = self._work(self.models[model_id].line_word, terms_word >> STAGE_COUNT_BIT)
    price: uint256 = work * SECOND_PRICE
    if msg.value != (self.requests[request_id].money_word >> BOND_BIT) + price:
        codec.fail(WRONG_VALUE)
    if block.timestamp > (terms_word >> DEADLINE_BIT) & codec.MASK64:
        codec.fail(DEADLINE)
    server: address = self.requests[request_id].server
    if server != empty(address) and server != msg.sender:
        codec.fail(NOT_THE_SERVER)
    if progress_word >> OUTCOME_BIT != 0:
        codec.fail(ALREADY_FINAL)
    claim_id: bytes32 = keccak256(concat(request_id, convert(msg.sender, bytes20), sealed))
    if self.claims[claim_id].claim_word != 0:
        codec.fail(CLAIM_EXISTS)

    if checked_at == 0:
        checked_at = self._join_line(model_id, work)
        progress_word += checked_at
    closes_at: uint256 = max(block.timestamp, checked_at) + WINDOW
    if closes_at > convert(latest, uint256) or closes_at >= TIME_LIMIT:
        codec.fail(TOO_LATE)

    index: uint256 = (progress_word >> CLAIMS_BIT) & MASK32
    self.requests[request_id].progress_word = progress_word + (1 << CLAIMS_BIT) + (1 << PENDING_BIT)
    self.claims[claim_id].request_id = request_id
    self.claims[claim_id].sealed = sealed
    self.claims[claim_id].claim_word = convert(msg.sender, uint256) | (closes_at << CLOSES_AT_BIT) | (index << INDEX_BIT)
    self._deposit()
    log objects.Claimed(
        claim_id=claim_id, request_id=request_id, server=msg.sender, sealed=sealed, index=convert(index, uint32),
        checked_at=convert(checked_at, uint64), closes_at=convert(closes_at, uint64)
    )
    self._burn(request_id, price)
    return claim_id


@internal
def _join_line(model_id: bytes32, work: uint256) -> uint256:
    """Puts work at the end of a model's line; returns when it is checked."""
    line_word: uint256 = self.models[model_id].line_word
    busy_until: uint256 = line_word >> BUSY_UNTIL_BIT
    checked_at: uint256 = max(block.timestamp, busy_until) + work
    self.models[model_id].line_word = line_word + ((checked_at - busy_until) << BUSY_UNTIL_BIT)
    return checked_at


@internal
@pure
def _work(line_word: uint256, stage_count: uint256) -> uint256:
    """Computes the seconds that a validator needs for a run."""
    return (stage_count * (line_word & codec.MASK64) + MICROSECONDS - 1) // MICROSECONDS


@internal
def _new_request_id(content: Bytes[32 + 8 + 8 + 32 + 32 + 20 + 32]) -> bytes32:
    """Makes an id of a request's content, its requester and the number of requests that the requester made before."""
    account_word: uint256 = self.accounts[msg.sender]
    self.accounts[msg.sender] = account_word + 1
    return keccak256(concat(convert(msg.sender, bytes20), codec.bytes8(account_word & MASK32), content))


@internal
@view
def _io_root(stage_count: uint256, data: Bytes[MAX_REQUEST_BYTES + 1]) -> bytes32:
    """Computes the root of the io quarter of a request, by the frontier of its leaves so far: frontier[h] is a full subtree of height h."""
    first_leaf: uint256 = (codec.reverse(stage_count) << 192) | (codec.reverse(len(data)) << 128)
    leaves: Bytes[32 + MAX_REQUEST_BYTES + 1 + 32] = concat(convert(first_leaf, bytes32), data, empty(bytes32))
    leaf_count: uint256 = 1 + (len(data) + 31) // 32
    frontier: bytes32[QUARTER_HEIGHT] = empty(bytes32[QUARTER_HEIGHT])
    for i: uint256 in range(leaf_count, bound=1 + MAX_REQUEST_BYTES // 32):
        node: bytes32 = extract32(leaves, 32 * i)
        for height: uint256 in range(QUARTER_HEIGHT):
            if (i >> height) & 1 == 0:
                frontier[height] = node
                break
            node = merkle.node(frontier[height], node)
    root: bytes32 = empty(bytes32)
    for height: uint256 in range(QUARTER_HEIGHT):
        if (leaf_count >> height) & 1 == 1:
            root = merkle.node(frontier[height], root)
        else:
            root = merkle.node(root, merkle.ZERO[height])
    return root


# --- Moves in the tree: spec §5.4, §5.5 ---


@external
@payable
def challenge(claim_id: bytes32) -> bytes32:
    """
    @notice Disputes a claim against a bond: opens the root of its tree, for everybody. Its segment is all stages.
    @param claim_id The claim
    @return The id of the root
    """
    claim_word: uint256 = self._known_claim(claim_id)
    request_id: bytes32 = self.claims[claim_id].request_id
    if msg.value != self._root_bond(self.requests[request_id].money_word >> BOND_BIT):
        codec.fail(WRONG_VALUE)
    if claim_word >> STATUS_BIT != PENDING:
        codec.fail(CLAIM_NOT_PENDING)
    if block.timestamp >= self._closes_at(claim_word):
        codec.fail(WINDOW_CLOSED)
    node_id: bytes32 = keccak256(claim_id)
    if self.nodes[node_id].claim_id != empty(bytes32):
        codec.fail(ROOT_EXISTS)

    segment: objects.Segment = objects.Segment(
        phase=STAGES, lo=0, hi=convert(self.requests[request_id].terms_word >> STAGE_COUNT_BIT, uint64),
        agreed=self.requests[request_id].first_run_hash, disputed=self.claims[claim_id].sealed
    )
    turn: Turn = Turn(claim_id=claim_id, claim_word=claim_word, clock_word=0, late=0)
    clocks: uint256 = (convert(FIXED.server_time, uint256) << SERVER_LEFT_BIT) | (
        convert(FIXED.challenger_time, uint256) << CHALLENGERS_LEFT_BIT
    )
    self._open_node(node_id, turn, empty(bytes32), 0, 1 << DEPTH_BIT, clocks, segment)
    return node_id


@external
@payable
def choose(node_id: bytes32, segment: objects.Segment, hashes: Bytes[POSTED_BYTES], part: uint8) -> bytes32:
    """
    @notice Disputes one part of a posted segment against a bond: opens a node for it. At first only the opener of the segment's node may.
    @param node_id The node whose part it is
    @param segment What that node is about, as in its last event
    @param hashes Those that the server posted there
    @param part The number of the part, from 0
    @return The id of the part's node
    """
    turn: Turn = self._turn(node_id)
    if msg.value != NODE_BOND:
        codec.fail(WRONG_VALUE)
    self._check_state(turn, POSTED)
    if self.nodes[node_id].commitment != self._commitment(segment, hashes):
        codec.fail(STALE_COMMITMENT)
    place_word: uint256 = self.nodes[node_id].place_word
    since: uint256 = self._since(turn.clock_word)
    if block.timestamp < since + PRIORITY and convert(msg.sender, uint256) != place_word & MASK160:
        codec.fail(NOT_THE_OPENER)
    used: uint256 = self._beyond(max(since, self._closes_at(turn.claim_word)))
    if used > (turn.clock_word >> CHALLENGERS_LEFT_BIT) & MASK32:
        codec.fail(OUT_OF_TIME)
    wide_part: uint256 = convert(part, uint256)
    if wide_part >= self._part_count(segment.hi - segment.lo):
        codec.fail(NO_SUCH_PART)
    child_id: bytes32 = keccak256(concat(node_id, convert(part, bytes1)))
    if self.nodes[child_id].claim_id != empty(bytes32):
        codec.fail(PART_CHOSEN)

    path: uint256 = self._path(place_word) << PART_BITS | wide_part
    child_place: uint256 = (path << PATH_BIT) | (((place_word >> DEPTH_BIT) + 1) << DEPTH_BIT)
    clocks: uint256 = turn.clock_word - (used << CHALLENGERS_LEFT_BIT)
    self._open_node(child_id, turn, node_id, part, child_place, clocks, self._part(segment, hashes, wide_part))
    return child_id


@internal
@payable
def _open_node(
    node_id: bytes32, turn: Turn, parent_id: bytes32, part: uint8, place: uint256, clocks: uint256, segment: objects.Segment
):
    """Opens a node for the sender at this place; of `clocks`, laid out as a clock word, only the times that are left count."""
    server: address = self._server(turn.claim_word)
    account_word: uint256 = self.accounts[server]
    server_due: uint256 = self._server_due(account_word)
    due: uint256 = max(block.timestamp, server_due) + EFFORT
    price: uint256 = min(block.basefee, GAS_PRICE_CAP)
    times_left: uint256 = clocks & ((2**64 - 1) << SERVER_LEFT_BIT)
    self.accounts[server] = account_word + ((due - server_due) << SERVER_DUE_BIT)
    self.claims[turn.claim_id].tree_word += (1 << OPEN_NODES_BIT) + (1 << NODES_BIT) + (price << PRICES_BIT)
    self.nodes[node_id] = NodeSlots(
        claim_id=turn.claim_id, commitment=self._bare_commitment(segment), place_word=place | convert(msg.sender, uint256),
        clock_word=price | (due << DUE_BIT) | (block.timestamp << SINCE_BIT) | times_left | (OPEN << STATE_BIT)
    )
    self._deposit()
    log objects.Opened(
        node_id=node_id, claim_id=turn.claim_id, opener=msg.sender, parent_id=parent_id, part=part, segment=segment,
        since=convert(block.timestamp, uint64), due=convert(due, uint64), server_left=convert((clocks >> SERVER_LEFT_BIT) & MASK32, uint64),
        challengers_left=convert((clocks >> CHALLENGERS_LEFT_BIT) & MASK32, uint64), price=convert(price, uint64)
    )


@external
def post(node_id: bytes32, segment: objects.Segment, hashes: Bytes[POSTED_BYTES], run_hash: bytes32):
    """
    @notice Posts the hashes between the parts of the segment; a move of the server.
    @param node_id The node
    @param segment What the node is about, as in its last event
    @param hashes One for the end of each part but the last
    @param run_hash At the root, what the claim sealed
    """
    turn: Turn = self._servers_turn(node_id, segment)
    length: uint64 = segment.hi - segment.lo
    if length < 2:
        codec.fail(WRONG_MOVE)
    shown: objects.Segment = segment
    shown.disputed = self._unsealed(node_id, turn, segment.disputed, run_hash)
    if len(hashes) != 32 * (self._part_count(length) - 1):
        codec.fail(WRONG_COUNT)
    self._answer(node_id, turn, shown, hashes, POSTED)


@external
def open(
    node_id: bytes32,
    segment: objects.Segment,
    start_carry: bytes32,
    start_status: uint8,
    steps: uint64,
    final_state: Bytes[codec.STATE_BYTES + 1],
    left_root: bytes32,
    final_carry: bytes32,
    hashes: Bytes[POSTED_BYTES],
    run_hash: bytes32,
):
    """
    @notice Opens the one stage that is left: shows its first and last machine state and the hashes between; a move of the server.
    @param node_id The node
    @param segment What the node is about, as in its last event
    @param start_carry With start_status, what the stage before left
    @param start_status Zero, or one if the run had failed before this stage; then only `run_hash` of what follows counts
    @param steps How many steps the stage takes
    @param final_state The last machine state
    @param left_root Root of the left half of its memory
    @param final_carry Root of the right half, what the stage leaves
    @param hashes Those of the machine states between the parts of the stage
    @param run_hash At the root, what the claim sealed
    """
    turn: Turn = self._servers_turn(node_id, segment)
    if segment.phase != STAGES or segment.hi - segment.lo != 1:
        codec.fail(WRONG_MOVE)
    shown: objects.Segment = segment
    shown.disputed = self._unsealed(node_id, turn, segment.disputed, run_hash)
    if start_status > FAILED or self._run_hash(start_carry, start_status) != segment.agreed:
        codec.fail(WRONG_START)
    if start_status == FAILED:
        if shown.agreed == shown.disputed:
            self._answer(node_id, turn, shown, b"", ANSWERED)
        else:
            self._fall(node_id, turn)
        return

    if steps < 1 or convert(steps, uint256) > STAGE_STEP_LIMIT:
        codec.fail(STEP_COUNT)
    self._check_end(steps, final_state, left_root, start_carry, final_carry, shown.disputed)
    if len(hashes) != 32 * (self._part_count(steps) - 1):
        codec.fail(WRONG_COUNT)
    inside: objects.Segment = objects.Segment(
        phase=INSTRUCTIONS, lo=0, hi=steps, agreed=self._first_machine(turn.claim_id, segment.lo, start_carry), disputed=keccak256(final_state)
    )
    self._answer(node_id, turn, inside, hashes, OPEN if steps == 1 else POSTED)


@external
def arbitrate(node_id: bytes32, segment: objects.Segment, witness: Bytes[merkle.WITNESS_BYTES]):
    """
    @notice Executes the one instruction that is left, which answers the node or makes the claim fall. Anybody may.
    @param node_id The node
    @param segment What the node is about, as in its last event
    @param witness The state before the instruction and the leaves that it touches
    """
    turn: Turn = self._answerers_turn(node_id, segment, False)
    if segment.phase != INSTRUCTIONS or segment.hi - segment.lo != 1:
        codec.fail(WRONG_MOVE)
    before: bytes32 = empty(bytes32)
    after: bytes32 = empty(bytes32)
    before, after = staticcall Arbiter(ARBITER).step(witness, skip_contract_check=True)
    if before != segment.agreed:
        codec.fail(WRONG_STATE)
    if after == segment.disputed:
        self._answer(node_id, turn, segment, b"", ANSWERED)
    else:
        self._fall(node_id, turn)


@external
def timeout(node_id: bytes32):
    """
    @notice Makes a claim fall at a node that its server has not answered in time. Anybody may.
    @param node_id The node
    """
    turn: Turn = self._turn(node_id)
    self._check_state(turn, OPEN)
    if self._late(turn) <= self._server_left(turn.clock_word):
        codec.fail(NOT_OUT_OF_TIME)
    self._fall(node_id, turn)


# --- What moves share ---


@internal
@view
def _turn(node_id: bytes32) -> Turn:
    """Reads a node; fails if there is none."""
    claim_id: bytes32 = self.nodes[node_id].claim_id
    if claim_id == empty(bytes32):
        codec.fail(UNKNOWN_NODE)
    return Turn(claim_id=claim_id, claim_word=self.claims[claim_id].claim_word, clock_word=self.nodes[node_id].clock_word, late=0)


@internal
@pure
def _check_state(turn: Turn, state: uint256):
    """Fails unless the claim is pending and the node in this state."""
    if turn.claim_word >> STATUS_BIT != PENDING:
        codec.fail(CLAIM_NOT_PENDING)
    if (turn.clock_word >> STATE_BIT) & MASK8 != state:
        codec.fail(WRONG_TURN)


@internal
@view
def _servers_turn(node_id: bytes32, segment: objects.Segment) -> Turn:
    """Makes the checks that all answers of the server share."""
    return self._answerers_turn(node_id, segment, True)


@internal
@view
def _answerers_turn(node_id: bytes32, segment: objects.Segment, server_only: bool) -> Turn:
    """Makes the checks that all answers share: an open node that is about this segment, and the server in time."""
    turn: Turn = self._turn(node_id)
    self._check_state(turn, OPEN)
    if self.nodes[node_id].commitment != self._bare_commitment(segment):
        codec.fail(STALE_COMMITMENT)
    if server_only and msg.sender != self._server(turn.claim_word):
        codec.fail(NOT_THE_SERVER)
    turn.late = self._late(turn)
    if turn.late > self._server_left(turn.clock_word):
        codec.fail(OUT_OF_TIME)
    return turn


@internal
@pure
def _unsealed(node_id: bytes32, turn: Turn, disputed: bytes32, run_hash: bytes32) -> bytes32:
    """Returns the hash at the end of the segment: at the root, where it is sealed until the first answer, the one that breaks the seal."""
    if node_id != keccak256(turn.claim_id):
        return disputed
    if self._seal(run_hash, self._server(turn.claim_word)) != disputed:
        codec.fail(WRONG_SEAL)
    return run_hash


@internal
@pure
def _check_end(
    steps: uint64, final_state: Bytes[codec.STATE_BYTES + 1], left_root: bytes32, start_carry: bytes32, final_carry: bytes32, disputed: bytes32
):
    """Fails unless the last machine state of a stage leads to the disputed run hash."""
    if len(final_state) != codec.STATE_BYTES:
        codec.fail(codec.STATE_UNDECODABLE)
    kind: uint256 = 0
    status_value: uint256 = 0
    kind, status_value = codec.status(extract32(final_state, codec.STATUS, output_type=uint256) >> 184)
    if kind == codec.RUNNING and convert(steps, uint256) != STAGE_STEP_LIMIT:
        codec.fail(STILL_RUNNING)
    if merkle.node(left_root, final_carry) != extract32(final_state, codec.ROOT):
        codec.fail(WRONG_END)
    ended_well: bool = kind == codec.HALTED and status_value == 0
    if disputed != (self._run_hash(final_carry, OK) if ended_well else self._run_hash(start_carry, FAILED)):
        codec.fail(WRONG_END)


@internal
@view
def _first_machine(claim_id: bytes32, stage: uint64, start_carry: bytes32) -> bytes32:
    """Hashes the machine state that a stage begins in: the registered model, this carry, no scratch memory."""
    model_root: bytes32 = self.models[self.requests[self.claims[claim_id].request_id].model_id].model_root
    memory_root: bytes32 = merkle.node(merkle.node(merkle.ZERO[QUARTER_HEIGHT], model_root), start_carry)
    return codec.first_hash(ENTRY, convert(stage, uint256), memory_root)


@internal
def _answer(node_id: bytes32, turn: Turn, segment: objects.Segment, hashes: Bytes[POSTED_BYTES], state: uint256):
    """
    Stores what a node is about now, with these hashes posted. Unless it stays open, its clock is charged, and `settles_at` raised to
    the time until which something may follow.
    """
    clock_word: uint256 = turn.clock_word
    tree_word: uint256 = self.claims[turn.claim_id].tree_word
    self.nodes[node_id].commitment = self._commitment(segment, hashes)
    if state != OPEN:
        follows_until: uint256 = block.timestamp
        clock_word += ((state - OPEN) << STATE_BIT) + ((block.timestamp - self._since(clock_word)) << SINCE_BIT)
        clock_word -= turn.late << SERVER_LEFT_BIT
        if state == POSTED:
            follows_until = max(block.timestamp, self._closes_at(turn.claim_word)) + ((clock_word >> CHALLENGERS_LEFT_BIT) & MASK32)
        settles_at: uint256 = tree_word & MASK40
        tree_word = tree_word - (1 << OPEN_NODES_BIT) + max(settles_at, follows_until) - settles_at
        self.nodes[node_id].clock_word = clock_word
        self.claims[turn.claim_id].tree_word = tree_word
    log objects.Answered(
        node_id=node_id, claim_id=turn.claim_id, state=convert(state, uint8), segment=segment, hashes=hashes,
        since=convert(self._since(clock_word), uint64), server_left=convert(self._server_left(clock_word), uint64),
        settles_at=convert(tree_word & MASK40, uint64)
    )


@internal
def _fall(node_id: bytes32, turn: Turn):
    """Rejects a claim at this node, and burns what neither the way to it nor the refunds of gas can get: spec §5.6."""
    request_id: bytes32 = self.claims[turn.claim_id].request_id
    bond: uint256 = self.requests[request_id].money_word >> BOND_BIT
    tree_word: uint256 = self.claims[turn.claim_id].tree_word
    prices: uint256 = tree_word >> PRICES_BIT
    place_word: uint256 = self.nodes[node_id].place_word
    depth: uint256 = place_word >> DEPTH_BIT
    share: uint256 = 0
    gas: uint256 = 0
    share, gas = self._payouts(bond, depth, prices)
    self._reject(turn.claim_id, request_id, turn.claim_word | (depth << END_DEPTH_BIT))
    if depth > 1:
        self.claims[turn.claim_id].tree_word = tree_word | (self._path(place_word) << END_PATH_BIT)
    log objects.Fallen(claim_id=turn.claim_id, node_id=node_id, at=convert(block.timestamp, uint64))
    self._burn(turn.claim_id, bond - depth * share - gas * prices)


@internal
def _reject(claim_id: bytes32, request_id: bytes32, claim_word: uint256):
    """Stores that a claim is rejected. If it is the first one that its server loses, remembers when: spec §5.5."""
    self.claims[claim_id].claim_word = claim_word | (REJECTED << STATUS_BIT)
    self.requests[request_id].progress_word -= 1 << PENDING_BIT
    server: address = self._server(claim_word)
    account_word: uint256 = self.accounts[server]
    if account_word >> LOST_AT_BIT == 0:
        self.accounts[server] = account_word | (block.timestamp << LOST_AT_BIT)


@internal
@view
def _payouts(bond: uint256, depth: uint256, prices: uint256) -> (uint256, uint256):
    """Computes what a node on the way to the fall gets of the claim's bond, and the gas that is refunded for each of the others."""
    share: uint256 = self._phi(bond) // depth
    gas: uint256 = GAS_CHOOSE
    if prices != 0:
        gas = min(gas, (bond - depth * share) // prices)
    return share, gas


@internal
@view
def _part(segment: objects.Segment, hashes: Bytes[POSTED_BYTES], part: uint256) -> objects.Segment:
    """Cuts one part out of a segment with these hashes at its inner boundaries."""
    length: uint256 = convert(segment.hi - segment.lo, uint256)
    parts: uint256 = self._part_count(segment.hi - segment.lo)
    cut: objects.Segment = segment
    cut.lo = segment.lo + convert(part * length // parts, uint64)
    cut.hi = segment.lo + convert((part + 1) * length // parts, uint64)
    if part > 0:
        cut.agreed = extract32(hashes, 32 * (part - 1))
    if part < parts - 1:
        cut.disputed = extract32(hashes, 32 * part)
    return cut


@internal
@view
def _part_count(length: uint64) -> uint256:
    """Counts the parts that a segment of this length is cut into."""
    return min(K, convert(length, uint256))


@internal
@pure
def _commitment(segment: objects.Segment, hashes: Bytes[POSTED_BYTES]) -> bytes32:
    """Hashes all that is needed to go on at a node where these hashes are posted."""
    return keccak256(
        concat(
            convert(segment.phase, bytes1), convert(segment.lo, bytes8), convert(segment.hi, bytes8),
            segment.agreed, segment.disputed, hashes
        )
    )


@internal
@pure
def _bare_commitment(segment: objects.Segment) -> bytes32:
    """Hashes all that is needed to go on at a node where nothing is posted: the same with no hashes, and no room for them."""
    return keccak256(
        concat(
            convert(segment.phase, bytes1), convert(segment.lo, bytes8), convert(segment.hi, bytes8), segment.agreed, segment.disputed
        )
    )


@internal
@view
def _beyond(time: uint256) -> uint256:
    """Counts the seconds since this time; none before it."""
    return max(block.timestamp, time) - time


@internal
@view
def _late(turn: Turn) -> uint256:
    """
    Counts the seconds since a node was due. Once its server has lost a claim, what else it was asked excuses it no longer: spec §5.5.
    """
    due: uint256 = (turn.clock_word >> DUE_BIT) & MASK56
    alone: uint256 = self._since(turn.clock_word) + EFFORT  # when it would be due if the server had been asked nothing else
    if alone < due and alone < block.timestamp:  # otherwise a loss changes nothing, and the account is not read
        lost_at: uint256 = self.accounts[self._server(turn.claim_word)] >> LOST_AT_BIT
        if lost_at != 0:
            due = min(due, max(alone, lost_at + EFFORT))
    return self._beyond(due)


@internal
@pure
def _since(clock_word: uint256) -> uint256:
    """Reads when a node came into its state."""
    return (clock_word >> SINCE_BIT) & MASK56


@internal
@pure
def _server_due(account_word: uint256) -> uint256:
    """Reads when the last node that was opened against a server is due."""
    return (account_word >> SERVER_DUE_BIT) & MASK56


@internal
@pure
def _server_left(clock_word: uint256) -> uint256:
    """Reads the seconds that the server may be late in all on the way to a node and below."""
    return (clock_word >> SERVER_LEFT_BIT) & MASK32


# --- Ends of a claim: spec §5.6, §5.8 ---


@external
def finalise(claim_id: bytes32, carry: bytes32, status: uint8, output: Bytes[OUTPUT_BYTES], proof: Bytes[merkle.PROOF_BYTES]):
    """
    @notice Makes a claim final once its tree is settled, reads its output and pays its server. Anybody may.
    @param claim_id The claim
    @param carry With status and the server, the preimage of the seal
    @param status Zero, or one if the run failed
    @param output The leaves of the output, from its count on; nothing if the run failed
    @param proof Their bitmap and siblings up to the carry
    """
    claim_word: uint256 = self._pending_claim(claim_id)
    tree_word: uint256 = self.claims[claim_id].tree_word
    if block.timestamp < self._closes_at(claim_word):
        codec.fail(WINDOW_OPEN)
    if (tree_word >> OPEN_NODES_BIT) & MASK32 != 0:
        codec.fail(NODES_OPEN)
    if block.timestamp <= tree_word & MASK40:
        codec.fail(UNSETTLED)
    run_hash: bytes32 = self._run_hash(carry, status)
    if status > FAILED or self._seal(run_hash, self._server(claim_word)) != self.claims[claim_id].sealed:
        codec.fail(WRONG_OUTPUT)
    request_id: bytes32 = self.claims[claim_id].request_id
    progress_word: uint256 = self.requests[request_id].progress_word
    first: bool = progress_word >> OUTCOME_BIT == 0
    if not first and self.requests[request_id].run_hash != run_hash:
        codec.fail(OTHER_RESULT)
    outcome: uint8 = status
    needed: uint256 = 0  # leaves that the result is made of
    if status == FAILED:
        if len(output) + len(proof) != 0:
            codec.fail(WRONG_OUTPUT)
    else:
        outcome, needed = self._read_output(carry, output, proof)

    result: Bytes[OUTPUT_BYTES] = slice(output, 0, 32 * needed)
    progress_word -= 1 << PENDING_BIT
    if first:
        progress_word += (convert(outcome, uint256) + 1) << OUTCOME_BIT
        self.requests[request_id].result = claim_id
        self.requests[request_id].run_hash = run_hash
        if outcome == OK:
            self.requests[request_id].output_hash = keccak256(result)
    self.requests[request_id].progress_word = progress_word
    self.claims[claim_id].claim_word = claim_word | (FINAL << STATUS_BIT)
    log objects.Finalised(claim_id=claim_id, request_id=request_id, outcome=outcome, run_hash=run_hash, output=result)
    self._pay_final(claim_id, request_id, self._server(claim_word), tree_word)
    if self._is_next(claim_word, progress_word):
        self._award(claim_id, request_id, self._server(claim_word), progress_word)


@internal
@view
def _read_output(carry: bytes32, output: Bytes[OUTPUT_BYTES], proof: Bytes[merkle.PROOF_BYTES]) -> (uint8, uint256):
    """Checks the output leaves against the carry; returns the outcome and the number of leaves that count."""
    count: uint256 = len(output) // 32
    if len(output) % 32 != 0 or count < 1 or count > MAX_OUTPUT_LEAVES:
        codec.fail(WRONG_OUTPUT)
    tokens: uint256 = codec.reverse(extract32(output, 0, output_type=uint256) >> 192)
    outcome: uint8 = UNREADABLE if tokens > MAX_OUTPUT_COUNT else OK
    needed: uint256 = 1 if outcome == UNREADABLE else 1 + (tokens + 7) // 8
    spare: bool = count > needed and (outcome == UNREADABLE or extract32(output, 32 * (count - 1)) == empty(bytes32))
    if count < needed or spare:
        codec.fail(WRONG_OUTPUT)

    # The subtree over the leaves, by the frontier as in `_io_root`.
    frontier: bytes32[11] = empty(bytes32[11])
    for i: uint256 in range(count, bound=MAX_OUTPUT_LEAVES):
        leaf: bytes32 = extract32(output, 32 * i)
        for height: uint256 in range(11):
            if (i >> height) & 1 == 0:
                frontier[height] = leaf
                break
            leaf = merkle.node(frontier[height], leaf)
    top: uint256 = 0
    node: bytes32 = empty(bytes32)
    for height: uint256 in range(11):
        if count == 1 << height:
            node = frontier[height]
            break
        if count < 1 << height:
            break
        if (count >> height) & 1 == 1:
            node = merkle.node(frontier[height], node)
        else:
            node = merkle.node(node, merkle.ZERO[height])
        top = height + 1

    # Up to the carry: the io quarter is its left half, the state quarter its right one.
    merkle.check_subtree(node, top, OUTPUT_INDEX, proof, carry)
    return outcome, 0 if outcome == UNREADABLE else needed


@internal
def _pay_final(claim_id: bytes32, request_id: bytes32, server: address, tree_word: uint256):
    """Credits the server of a final claim with its bond and the payable share of all node bonds; burns the rest of these."""
    bond: uint256 = self.requests[request_id].money_word >> BOND_BIT
    node_count: uint256 = (tree_word >> NODES_BIT) & MASK32
    node_bonds: uint256 = 0
    if node_count != 0:
        node_bonds = self._root_bond(bond) + (node_count - 1) * NODE_BOND
    won: uint256 = self._phi(node_bonds)
    self._burn(claim_id, node_bonds - won)
    self._credit(server, claim_id, bond + won)


@external
def expire(claim_id: bytes32):
    """
    @notice Rejects a claim that could long have been final: nobody showed what it claims. Anybody may.
    @param claim_id The claim
    """
    claim_word: uint256 = self._pending_claim(claim_id)
    tree_word: uint256 = self.claims[claim_id].tree_word
    if (tree_word >> OPEN_NODES_BIT) & MASK32 != 0:
        codec.fail(NODES_OPEN)
    settled: uint256 = max(self._closes_at(claim_word), tree_word & MASK40)
    if block.timestamp <= settled + convert(FIXED.grace, uint256):
        codec.fail(NOT_EXPIRED)
    request_id: bytes32 = self.claims[claim_id].request_id
    bond: uint256 = self.requests[request_id].money_word >> BOND_BIT
    paid: uint256 = self._phi(bond)
    self._reject(claim_id, request_id, claim_word)
    log objects.Expired(claim_id=claim_id, at=convert(block.timestamp, uint64))
    self._burn(claim_id, bond - paid)
    self._credit(self._requester(request_id), request_id, paid)


@external
def collect(node_id: bytes32):
    """
    @notice Credits the opener of a node of a rejected claim: its bond, and its share if the claim fell below, or gas if elsewhere.
            Anybody may.
    @param node_id The node
    """
    turn: Turn = self._turn(node_id)
    if turn.claim_word >> STATUS_BIT != REJECTED or turn.clock_word >> COLLECTED_BIT != 0:
        codec.fail(NOTHING_TO_COLLECT)
    place_word: uint256 = self.nodes[node_id].place_word
    bond: uint256 = self.requests[self.claims[turn.claim_id].request_id].money_word >> BOND_BIT
    credit: uint256 = self._root_bond(bond) if place_word >> DEPTH_BIT == 1 else NODE_BOND
    burned: uint256 = 0
    end_depth: uint256 = (turn.claim_word >> END_DEPTH_BIT) & MASK8
    if end_depth != 0:  # it fell, and did not expire
        tree_word: uint256 = self.claims[turn.claim_id].tree_word
        share: uint256 = 0
        gas: uint256 = 0
        share, gas = self._payouts(bond, end_depth, tree_word >> PRICES_BIT)
        refund: uint256 = gas * (turn.clock_word & codec.MASK64)
        if self._lies_on_the_way(place_word, end_depth, (tree_word >> END_PATH_BIT) & MASK76):
            credit += share
            burned = refund
        else:
            credit += refund
    self.nodes[node_id].clock_word = turn.clock_word | (1 << COLLECTED_BIT)
    log objects.Collected(node_id=node_id)
    self._burn(node_id, burned)
    self._credit(convert(place_word & MASK160, address), node_id, credit)


@internal
@view
def _lies_on_the_way(place_word: uint256, end_depth: uint256, end_path: uint256) -> bool:
    """Finds whether a node's path is a prefix of the path to the node at which the claim fell."""
    depth: uint256 = place_word >> DEPTH_BIT
    return depth <= end_depth and end_path >> (PART_BITS * (end_depth - depth)) == self._path(place_word)


@internal
@pure
def _path(place_word: uint256) -> uint256:
    """Reads the parts that were chosen from the root down, as one number."""
    return (place_word >> PATH_BIT) & MASK76


@internal
@view
def _node_at(claim_id: bytes32, depth: uint256, path: uint256) -> bytes32:
    """Computes the id of the node at a place; zero for depth zero."""
    if depth == 0:
        return empty(bytes32)
    node_id: bytes32 = keccak256(claim_id)
    for level: uint256 in range(2, depth + 1, bound=64):
        part: uint256 = (path >> (PART_BITS * (depth - level))) & ((1 << PART_BITS) - 1)
        node_id = keccak256(concat(node_id, convert(convert(part, uint8), bytes1)))
    return node_id


# --- The fee, and leaving: spec §5.7 ---


@external
def award(claim_id: bytes32):
    """
    @notice Goes one claim further in the search for the final claim of lowest index, which earns the fee. Anybody may. A pending claim
            of the result is waited for, but not for ever.
    @param claim_id The claim that is next
    """
    claim_word: uint256 = self._known_claim(claim_id)
    request_id: bytes32 = self.claims[claim_id].request_id
    progress_word: uint256 = self.requests[request_id].progress_word
    if progress_word >> OUTCOME_BIT == 0 or not self._is_next(claim_word, progress_word):
        codec.fail(NOTHING_TO_AWARD)
    server: address = self._server(claim_word)
    status: uint256 = claim_word >> STATUS_BIT
    if status == PENDING and block.timestamp <= self._closes_at(claim_word) + HOLD:
        if self.claims[claim_id].sealed == self._seal(self.requests[request_id].run_hash, server):
            codec.fail(NOTHING_TO_AWARD)
    if status == FINAL:
        self._award(claim_id, request_id, server, progress_word)
    else:
        self.requests[request_id].progress_word = progress_word + (1 << NEXT_AWARD_BIT)
        log objects.PassedOver(claim_id=claim_id, request_id=request_id)


@internal
@pure
def _is_next(claim_word: uint256, progress_word: uint256) -> bool:
    """Finds whether the fee is still there and this claim the next one that may earn it."""
    index: uint256 = (claim_word >> INDEX_BIT) & MASK32
    return index == (progress_word >> NEXT_AWARD_BIT) & MASK32 and (progress_word >> FEE_PAID_BIT) & MASK8 == 0


@internal
def _award(claim_id: bytes32, request_id: bytes32, server: address, progress_word: uint256):
    """Pays the fee to this claim."""
    self.requests[request_id].progress_word = progress_word + (1 << FEE_PAID_BIT)
    log objects.Awarded(claim_id=claim_id, request_id=request_id)
    self._credit(server, claim_id, self.requests[request_id].money_word & MASK128)


@external
def reclaim(request_id: bytes32):
    """
    @notice Credits the requester with the fee, once the deadline is over and no claim is final, nor pending if it ends in time.
            Anybody may.
    @param request_id The request
    """
    terms_word: uint256 = self.requests[request_id].terms_word
    if terms_word == 0:
        codec.fail(UNKNOWN_REQUEST)
    progress_word: uint256 = self.requests[request_id].progress_word
    waiting_until: uint256 = (terms_word >> DEADLINE_BIT) & codec.MASK64
    if (progress_word >> PENDING_BIT) & MASK32 != 0:
        waiting_until = max(waiting_until, progress_word & codec.MASK64) + WINDOW + HOLD
    if block.timestamp <= waiting_until or progress_word >> FEE_PAID_BIT != 0:  # of a result the bits above `fee paid` tell
        codec.fail(NOT_ALL_FAILED)
    self.requests[request_id].progress_word = progress_word + (1 << FEE_PAID_BIT)
    log objects.Reclaimed(request_id=request_id)
    self._credit(convert(terms_word & MASK160, address), request_id, self.requests[request_id].money_word & MASK128)


@external
def withdraw_to(to: address):
    """
    @notice Pays out all that the sender is credited with.
    @param to Who gets it
    """
    account_word: uint256 = self.accounts[msg.sender]
    amount: uint256 = (account_word >> CREDITED_BIT) & MASK128
    if amount == 0:
        codec.fail(NOTHING_TO_WITHDRAW)
    self.accounts[msg.sender] = account_word - (amount << CREDITED_BIT)
    self.gone += amount << PAID_OUT_BIT
    log objects.Withdrawn(account=msg.sender, to=to, amount=amount)
    if not raw_call(to, b"", value=amount, revert_on_failure=False):
        codec.fail(PAYMENT_FAILED)


# --- Money ---


@internal
@payable
def _deposit():
    """Books the money that came with the call as locked."""
    self.held += msg.value + (msg.value << DEPOSITS_BIT)


@internal
def _credit(account: address, subject: bytes32, amount: uint256):
    """Moves money from locked to credited."""
    if amount != 0:
        self.accounts[account] += amount << CREDITED_BIT
        self.held -= amount
        log objects.Credited(account=account, subject=subject, amount=amount)


@internal
def _burn(subject: bytes32, amount: uint256):
    """Moves money from locked to burned."""
    if amount != 0:
        self.held -= amount
        self.gone += amount
        log objects.Burned(subject=subject, amount=amount)


@internal
@view
def _phi(amount: uint256) -> uint256:
    """Computes the share of a lost bond that is paid out."""
    return amount * SHARE_NUMERATOR // SHARE_DENOMINATOR


@internal
@view
def _root_bond(bond: uint256) -> uint256:
    """Computes what it costs to challenge a claim with this bond."""
    return max(NODE_BOND, bond // 8)


# --- Words that the sections above share ---


@internal
@pure
def _run_hash(carry: bytes32, status: uint8) -> bytes32:
    """Hashes what a stage leaves to the next one."""
    return keccak256(concat(carry, convert(status, bytes1)))


@internal
@pure
def _seal(run_hash: bytes32, server: address) -> bytes32:
    """Hashes what a server claims, so that it fits this server only."""
    return keccak256(concat(run_hash, convert(server, bytes20)))


@internal
@view
def _known_claim(claim_id: bytes32) -> uint256:
    """Reads the packed word of a claim; fails if there is none."""
    claim_word: uint256 = self.claims[claim_id].claim_word
    if claim_word == 0:
        codec.fail(UNKNOWN_CLAIM)
    return claim_word


@internal
@view
def _pending_claim(claim_id: bytes32) -> uint256:
    """Reads the packed word of a claim; fails unless it is pending."""
    claim_word: uint256 = self._known_claim(claim_id)
    if claim_word >> STATUS_BIT != PENDING:
        codec.fail(CLAIM_NOT_PENDING)
    return claim_word


@internal
@pure
def _server(claim_word: uint256) -> address:
    """Reads the server from the packed word of a claim."""
    return convert(claim_word & MASK160, address)


@internal
@pure
def _closes_at(claim_word: uint256) -> uint256:
    """Reads the end of the window from the packed word of a claim."""
    return (claim_word >> CLOSES_AT_BIT) & MASK40


@internal
@view
def _requester(request_id: bytes32) -> address:
    """Reads who made a request."""
    return convert(self.requests[request_id].terms_word & MASK160, address)


# --- Views: spec §5.11. For an unknown id every field is zero. ---


@external
@view
def result_of(request_id: bytes32) -> (uint8, bytes32, bytes32):
    """
    @notice Returns the result of a request: its outcome, the hash of its output and the claim that became final. Reverts while there is none.
    @param request_id The request
    @return Outcome (0 OK, 1 FAILED, 2 UNREADABLE), hash of the output leaves, id of the claim
    """
    if self.requests[request_id].terms_word == 0:
        codec.fail(UNKNOWN_REQUEST)
    outcome: uint256 = self.requests[request_id].progress_word >> OUTCOME_BIT
    if outcome == 0:
        codec.fail(NO_RESULT)
    return convert(outcome - 1, uint8), self.requests[request_id].output_hash, self.requests[request_id].result


@external
@view
def model_of(model_id: bytes32) -> objects.Model:
    """
    @notice Returns what is stored of a model.
    @param model_id The model
    @return Its fields
    """
    slots: ModelSlots = self.models[model_id]
    return objects.Model(
        model_root=slots.model_root,
        state_root=slots.state_root,
        stage_microseconds=convert(slots.line_word & codec.MASK64, uint64),
        busy_until=convert(slots.line_word >> BUSY_UNTIL_BIT, uint64),
    )


@external
@view
def request_of(request_id: bytes32) -> objects.Request:
    """
    @notice Returns what is stored of a request.
    @param request_id The request
    @return Its fields
    """
    slots: RequestSlots = self.requests[request_id]
    outcome: uint256 = slots.progress_word >> OUTCOME_BIT
    fee_paid: bool = (slots.progress_word >> FEE_PAID_BIT) & MASK8 != 0
    return objects.Request(
        model_id=slots.model_id,
        stage_count=convert(slots.terms_word >> STAGE_COUNT_BIT, uint64),
        first_run_hash=slots.first_run_hash,
        deadline=convert((slots.terms_word >> DEADLINE_BIT) & codec.MASK64, uint64),
        fee_left=0 if fee_paid else convert(slots.money_word & MASK128, uint128),
        bond=convert(slots.money_word >> BOND_BIT, uint128),
        requester=convert(slots.terms_word & MASK160, address),
        server=slots.server,
        checked_at=convert(slots.progress_word & codec.MASK64, uint64),
        claims=convert((slots.progress_word >> CLAIMS_BIT) & MASK32, uint32),
        pending=convert((slots.progress_word >> PENDING_BIT) & MASK32, uint32),
        next_award=convert((slots.progress_word >> NEXT_AWARD_BIT) & MASK32, uint32),
        fee_paid=fee_paid,
        result=slots.result,
        run_hash=slots.run_hash,
        outcome=convert(max(outcome, 1) - 1, uint8),
        output_hash=slots.output_hash,
    )


@external
@view
def claim_of(claim_id: bytes32) -> objects.Claim:
    """
    @notice Returns what is stored of a claim.
    @param claim_id The claim
    @return Its fields
    """
    slots: ClaimSlots = self.claims[claim_id]
    return objects.Claim(
        request_id=slots.request_id,
        server=self._server(slots.claim_word),
        sealed=slots.sealed,
        index=convert((slots.claim_word >> INDEX_BIT) & MASK32, uint32),
        closes_at=convert(self._closes_at(slots.claim_word), uint64),
        settles_at=convert(slots.tree_word & MASK40, uint64),
        open_nodes=convert((slots.tree_word >> OPEN_NODES_BIT) & MASK32, uint32),
        nodes=convert((slots.tree_word >> NODES_BIT) & MASK32, uint32),
        prices=convert(slots.tree_word >> PRICES_BIT, uint128),
        status=convert(slots.claim_word >> STATUS_BIT, uint8),
        fell_at=self._node_at(claim_id, (slots.claim_word >> END_DEPTH_BIT) & MASK8, (slots.tree_word >> END_PATH_BIT) & MASK76),
    )


@external
@view
def node_of(node_id: bytes32) -> objects.Node:
    """
    @notice Returns what is stored of a node.
    @param node_id The node
    @return Its fields
    """
    slots: NodeSlots = self.nodes[node_id]
    return objects.Node(
        claim_id=slots.claim_id,
        opener=convert(slots.place_word & MASK160, address),
        depth=convert(slots.place_word >> DEPTH_BIT, uint8),
        path=convert(self._path(slots.place_word), uint128),
        commitment=slots.commitment,
        state=convert((slots.clock_word >> STATE_BIT) & MASK8, uint8),
        due=convert((slots.clock_word >> DUE_BIT) & MASK56, uint64),
        server_left=convert(self._server_left(slots.clock_word), uint64),
        challengers_left=convert((slots.clock_word >> CHALLENGERS_LEFT_BIT) & MASK32, uint64),
        since=convert(self._since(slots.clock_word), uint64),
        price=convert(slots.clock_word & codec.MASK64, uint64),
        collected=slots.clock_word >> COLLECTED_BIT != 0,
    )


@external
@view
def account_of(owner: address) -> objects.Account:
    """
    @notice Returns what is stored of an address: requests made, wei credited; as a server, when it is due and when it first lost a claim.
    @param owner The address
    @return Its fields
    """
    account_word: uint256 = self.accounts[owner]
    return objects.Account(
        requests=convert(account_word & MASK32, uint64),
        credited=convert((account_word >> CREDITED_BIT) & MASK128, uint128),
        due=convert(self._server_due(account_word), uint64),
        lost_at=convert(account_word >> LOST_AT_BIT, uint64),
    )


@external
@view
def books() -> objects.Books:
    """
    @notice Returns where all the money is: deposits are what is locked, credited, burned and paid out, in wei.
    @return The sums but that of the credits
    """
    return objects.Books(
        deposits=convert(self.held >> DEPOSITS_BIT, uint128),
        locked=convert(self.held & MASK128, uint128),
        burned=convert(self.gone & MASK128, uint128),
        paid_out=convert(self.gone >> PAID_OUT_BIT, uint128),
    )


@external
@view
def parameters() -> bounds.Parameters:
    """
    @notice Returns what the deployment fixed.
    @return The parameters
    """
    return FIXED
