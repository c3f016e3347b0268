#pragma version 0.4.3
#pragma evm-version prague
#pragma optimize gas
"""
@title The game: models, requests, claims against a bond, disputes by narrowing, money
@notice A server claims the last hash of a run. Whoever disputes it plays a game of its own against the claim: the server posts
        inner hashes of the disputed segment, the challenger names the first part whose end it disputes, until one stage is left;
        the server opens it, and the same narrowing goes on over its instructions until one is left, which the arbiter executes.
@dev    A game is stored as a commitment to its position, a hash; every move brings the preimage. Words that change together share a slot,
        packed by hand, since the gas of a move is mostly that of the slots it touches; their layouts stand with the storage.
        Vyper's checked arithmetic guards each field against the next one: counters and sums of wei stay far below their widths.
        Source: spec §5.
"""


from modules import codec
from modules import merkle

initializes: merkle


interface Arbiter:
    def step(witness: Bytes[merkle.WITNESS_BYTES]) -> (bytes32, bytes32): view


# --- Limits: spec §2.5, §4, §3.2, §5.6, §5.7 ---
# Bytes arguments have room for one byte (hashes: one hash) more than any legal one, so that too long ones are refused by name.
MAX_REQUEST_BYTES: constant(uint256) = 16384
MAX_STAGES: constant(uint256) = 2**24
STAGE_STEP_LIMIT: constant(uint256) = 2**32
MAX_K: constant(uint256) = 64
POSTED_BYTES: constant(uint256) = 32 * MAX_K
MAX_OUTPUT_LEAVES: constant(uint256) = 1024
OUTPUT_BYTES: constant(uint256) = 32 * MAX_OUTPUT_LEAVES + 1
MAX_OUTPUT_COUNT: constant(uint256) = 4096

# --- Memory: spec §2.2, §3.2 ---
ENTRY: constant(uint256) = 2**38
QUARTER_HEIGHT: constant(uint256) = 33
OUTPUT_INDEX: constant(uint256) = 2**23  # of the leaf of the io quarter where OUTPUT begins

# --- Encodings: spec §4, §5.1, §5.2 ---
OK: constant(uint8) = 0
FAILED: constant(uint8) = 1
UNREADABLE: constant(uint8) = 2
STAGES: constant(uint8) = 1  # phases
INSTRUCTIONS: constant(uint8) = 2
REQUEST: constant(bytes1) = 0x01  # kinds of id
CLAIM: constant(bytes1) = 0x02
GAME: constant(bytes1) = 0x03
PENDING: constant(uint256) = 0  # of a claim
FINAL: constant(uint256) = 1
REJECTED: constant(uint256) = 2
OPEN: constant(uint256) = 0  # of a game
SERVER_WON: constant(uint256) = 1
CHALLENGER_WON: constant(uint256) = 2
COLLECTED: constant(uint256) = 3
NOTHING_POSTED: constant(bytes32) = keccak256(b"")

# --- Errors: spec §0.6; those of states and proofs are numbered in codec ---
UNKNOWN_MODEL: constant(uint256) = 201
UNKNOWN_REQUEST: constant(uint256) = 202
UNKNOWN_CLAIM: constant(uint256) = 203
UNKNOWN_GAME: constant(uint256) = 204
WRONG_VALUE: constant(uint256) = 205
STAGE_COUNT: constant(uint256) = 206
REQUEST_TOO_LONG: constant(uint256) = 207
DEADLINE: constant(uint256) = 208
NOT_THE_SERVER: constant(uint256) = 209
CLAIM_NOT_PENDING: constant(uint256) = 210
WINDOW_CLOSED: constant(uint256) = 211
WINDOW_OPEN: constant(uint256) = 212
GAMES_OPEN: constant(uint256) = 213
GAME_OVER: constant(uint256) = 214
STALE_POSITION: constant(uint256) = 215
NOT_YOUR_TURN: constant(uint256) = 216
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
NOT_THE_REQUESTER: constant(uint256) = 229
NOT_ALL_FAILED: constant(uint256) = 230
NOTHING_TO_WITHDRAW: constant(uint256) = 231
PARAMETERS: constant(uint256) = 232
PAYMENT_FAILED: constant(uint256) = 233


struct Parameters:  # times in seconds, money in wei
    k: uint64
    share_numerator: uint64
    share_denominator: uint64
    challenge_period: uint64  # W
    server_time: uint64  # T_server
    challenger_time: uint64
    server_bond: uint128
    challenger_bond: uint128
    censorship: uint64  # C
    inclusion: uint64  # d
    effort: uint64  # E
    games_at_once: uint64  # n_max
    side_gas: uint64  # G_side
    gas_per_second: uint64
    game_effort: uint64  # E_game
    machines: uint64  # M
    detect: uint64  # T_detect
    recompute: uint64  # T_recompute
    gas_price_cap: uint128


struct Segment:
    phase: uint8
    lo: uint64
    hi: uint64
    agreed: bytes32
    disputed: bytes32
    turn: uint64


struct Turn:  # a game, in memory
    claim_id: bytes32
    clock_word: uint256
    claim_word: uint256


event Registered:
    model_id: indexed(bytes32)
    model_root: bytes32
    state_root: bytes32


event Requested:
    request_id: indexed(bytes32)
    model_id: indexed(bytes32)
    requester: indexed(address)
    stage_count: uint64
    deadline: uint64
    fee: uint256
    server: address
    data: Bytes[MAX_REQUEST_BYTES + 1]


event Claimed:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)
    server: indexed(address)
    run_hash: bytes32


event Challenged:
    game_id: indexed(bytes32)
    claim_id: indexed(bytes32)
    challenger: indexed(address)


event Moved:
    game_id: indexed(bytes32)
    segment: Segment
    hashes: Bytes[POSTED_BYTES]


event Decided:
    game_id: indexed(bytes32)
    claim_id: indexed(bytes32)
    server_won: bool


event Finalised:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)
    outcome: uint8
    output: Bytes[OUTPUT_BYTES]


# --- Storage. Fields of a packed word from bit 0 up, with their widths. ---
MASK128: constant(uint256) = 2**128 - 1
MASK160: constant(uint256) = 2**160 - 1


struct Model:
    model_root: bytes32
    state_root: bytes32
    known: bool


struct Request:
    model_root: bytes32
    first_run_hash: bytes32
    request_terms: uint256  # requester 160, deadline 64, stage_count 32
    request_word: uint256  # server 160, pending claims 64, fee reclaimed 1
    fee: uint256
    result: bytes32  # id of the first final claim
    output_hash: bytes32


struct Claim:
    request_id: bytes32
    run_hash: bytes32
    claim_word: uint256  # server 160, status 8, open games 40, challengers' moves 48
    claimed_at: uint256


struct Game:
    claim_id: bytes32
    challenger: address
    commitment: bytes32  # to the segment and what is posted; cleared when a move decides the game
    clock_word: uint256  # turn_start 64, server's time left 64, challenger's 64, moves 16, status 8


CLAIM_STATUS_BIT: constant(uint256) = 160
OPEN_GAMES_BIT: constant(uint256) = 168
CHALLENGER_MOVES_BIT: constant(uint256) = 208
SERVER_LEFT_BIT: constant(uint256) = 64
CHALLENGER_LEFT_BIT: constant(uint256) = 128
MOVES_BIT: constant(uint256) = 192
GAME_STATUS_BIT: constant(uint256) = 208
PENDING_CLAIMS_BIT: constant(uint256) = 160
RECLAIMED_BIT: constant(uint256) = 224
CREDIT_BIT: constant(uint256) = 64
BURNED_BIT: constant(uint256) = 128
PAID_OUT_BIT: constant(uint256) = 128

models: HashMap[bytes32, Model]
requests: public(HashMap[bytes32, Request])
claims: public(HashMap[bytes32, Claim])
games: public(HashMap[bytes32, Game])
accounts: public(HashMap[address, uint256])  # ids made 64, credited wei 192: whoever made a claim or game has a slot that is not fresh
held: public(uint256)  # locked 128, burned 128
flow: public(uint256)  # deposits 128, paid out 128

ARBITER: immutable(address)
FIXED: immutable(Parameters)
K: immutable(uint256)
CHALLENGE_PERIOD: immutable(uint256)
SERVER_BOND: immutable(uint256)
CHALLENGER_BOND: immutable(uint256)
SERVER_SHARE: immutable(uint256)  # floor(φ · B_server), what a server's lost bond pays out
CHALLENGER_SHARE: immutable(uint256)
FULL_CLOCK: immutable(uint256)  # clock word of a new game but for turn_start


# --- Deployment: spec §5.7 ---


@deploy
def __init__(arbiter: address, parameters: Parameters):
    p: Parameters = parameters
    sane: bool = 2 <= p.k and p.k <= convert(MAX_K, uint64) and p.share_denominator != 0 and p.gas_per_second != 0 and p.machines != 0
    if not sane or not arbiter.is_contract:
        codec.fail(PARAMETERS)

    share: uint256 = convert(p.share_numerator, uint256)
    whole: uint256 = convert(p.share_denominator, uint256)
    moves: uint256 = self._ceil_log(p.k, MAX_STAGES) + self._ceil_log(p.k, STAGE_STEP_LIMIT) + 2
    waiting: uint256 = convert(p.censorship, uint256) + moves * (convert(p.inclusion, uint256) + convert(p.effort, uint256))
    per_game: uint256 = self._ceil_div(p.side_gas, p.gas_per_second) + self._ceil_div(p.game_effort, p.machines)
    noticing: uint256 = convert(p.censorship, uint256) + convert(p.inclusion, uint256) + convert(p.detect, uint256) + convert(p.recompute, uint256)
    gas_wei: uint256 = convert(p.side_gas, uint256) * convert(p.gas_price_cap, uint256)
    games_at_once: uint256 = convert(p.games_at_once, uint256)

    ARBITER = arbiter
    FIXED = p
    K = convert(p.k, uint256)
    CHALLENGE_PERIOD = convert(p.challenge_period, uint256)
    SERVER_BOND = convert(p.server_bond, uint256)
    CHALLENGER_BOND = convert(p.challenger_bond, uint256)
    SERVER_SHARE = SERVER_BOND * share // whole
    CHALLENGER_SHARE = CHALLENGER_BOND * share // whole
    FULL_CLOCK = (
        (convert(p.server_time, uint256) << SERVER_LEFT_BIT) | (convert(p.challenger_time, uint256) << CHALLENGER_LEFT_BIT) | (1 << MOVES_BIT)
    )
    holds: bool = (
        2 * share <= whole
        and convert(p.server_time, uint256) >= waiting + games_at_once * per_game
        and convert(p.challenger_time, uint256) >= waiting + per_game
        and CHALLENGE_PERIOD >= noticing
        and SERVER_SHARE >= gas_wei
        and CHALLENGER_SHARE >= gas_wei
        and games_at_once * CHALLENGER_BOND >= SERVER_BOND
    )
    if not holds:
        codec.fail(PARAMETERS)
    merkle.__init__()


@internal
@pure
def _ceil_log(k: uint64, leaves: uint256) -> uint256:
    """Finds the smallest n with k^n >= leaves."""
    reach: uint256 = 1
    for n: uint256 in range(33):
        if reach >= leaves:
            return n
        reach *= convert(k, uint256)
    return 33


@internal
@pure
def _ceil_div(a: uint64, b: uint64) -> uint256:
    """Divides, rounding up."""
    return (convert(a, uint256) + convert(b, uint256) - 1) // convert(b, uint256)


# --- Models, requests, claims: spec §5.4 ---


@external
def register(model_root: bytes32, state_root: bytes32) -> bytes32:
    """
    @notice Makes a model known. Anybody may; a model registered twice is the same model.
    @return The id of the model
    """
    model_id: bytes32 = merkle.node(model_root, state_root)
    self.models[model_id] = Model(model_root=model_root, state_root=state_root, known=True)
    log Registered(model_id=model_id, model_root=model_root, state_root=state_root)
    return model_id


@external
@payable
def request(model_id: bytes32, stage_count: uint64, data: Bytes[MAX_REQUEST_BYTES + 1], deadline: uint64, server: address) -> bytes32:
    """
    @notice Asks for a run of a model and locks the fee that comes with the call.
    @param stage_count How many stages the run has
    @param data What the request says to the program, bytes 16 and up of the io quarter
    @param deadline The last second in which the request can be claimed
    @param server Who may claim it; zero if anybody may
    @return The id of the request
    """
    model: Model = self.models[model_id]
    wide_stage_count: uint256 = convert(stage_count, uint256)
    if not model.known:
        codec.fail(UNKNOWN_MODEL)
    if wide_stage_count < 1 or wide_stage_count > MAX_STAGES:
        codec.fail(STAGE_COUNT)
    if len(data) > MAX_REQUEST_BYTES:
        codec.fail(REQUEST_TOO_LONG)
    if convert(deadline, uint256) < block.timestamp:
        codec.fail(DEADLINE)

    numbers: uint256 = (wide_stage_count << 64) | convert(deadline, uint256)
    content: bytes32 = keccak256(
        concat(model_id, convert(convert(numbers, uint128), bytes16), convert(msg.value, bytes32), convert(server, bytes20), keccak256(data))
    )
    request_id: bytes32 = self._new_id(REQUEST, content)

    # The root of the io quarter, by the frontier of its leaves so far: frontier[h] is a full subtree of height h.
    first_leaf: uint256 = (codec.reverse(wide_stage_count) << 192) | (codec.reverse(len(data)) << 128)
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
    io_root: bytes32 = empty(bytes32)
    for height: uint256 in range(QUARTER_HEIGHT):
        if (leaf_count >> height) & 1 == 1:
            io_root = merkle.node(frontier[height], io_root)
        else:
            io_root = merkle.node(io_root, merkle.ZERO[height])

    self.requests[request_id] = Request(
        model_root=model.model_root,
        first_run_hash=self._run_hash(merkle.node(io_root, model.state_root), OK),
        request_terms=convert(msg.sender, uint256) | (convert(deadline, uint256) << 160) | (wide_stage_count << 224),
        request_word=convert(server, uint256), fee=msg.value, result=empty(bytes32), output_hash=empty(bytes32)
    )
    self._deposit()
    log Requested(
        request_id=request_id, model_id=model_id, requester=msg.sender,
        stage_count=stage_count, deadline=deadline, fee=msg.value, server=server, data=data
    )
    return request_id


@external
@payable
def claim(request_id: bytes32, run_hash: bytes32) -> bytes32:
    """
    @notice Claims what a run ends with, against the server's bond. It can be challenged until the challenge period is over.
    @param run_hash Hash of the last carry and its status
    @return The id of the claim
    """
    request_terms: uint256 = self.requests[request_id].request_terms
    if request_terms == 0:
        codec.fail(UNKNOWN_REQUEST)
    if msg.value != SERVER_BOND:
        codec.fail(WRONG_VALUE)
    if block.timestamp > (request_terms >> 160) & codec.MASK64:
        codec.fail(DEADLINE)
    request_word: uint256 = self.requests[request_id].request_word
    server: uint256 = request_word & MASK160
    if server != 0 and server != convert(msg.sender, uint256):
        codec.fail(NOT_THE_SERVER)

    claim_id: bytes32 = self._new_id(CLAIM, merkle.node(request_id, run_hash))
    self.requests[request_id].request_word = request_word + (1 << PENDING_CLAIMS_BIT)
    self.claims[claim_id] = Claim(
        request_id=request_id, run_hash=run_hash, claim_word=convert(msg.sender, uint256), claimed_at=block.timestamp
    )
    self._deposit()
    log Claimed(claim_id=claim_id, request_id=request_id, server=msg.sender, run_hash=run_hash)
    return claim_id


@external
@payable
def challenge(claim_id: bytes32) -> bytes32:
    """
    @notice Disputes a claim against the challenger's bond: opens a game over all its stages.
    @return The id of the game
    """
    claim_word: uint256 = self._known_claim(claim_id)
    if msg.value != CHALLENGER_BOND:
        codec.fail(WRONG_VALUE)
    if self._claim_status(claim_word) != PENDING:
        codec.fail(CLAIM_NOT_PENDING)
    if block.timestamp >= self.claims[claim_id].claimed_at + CHALLENGE_PERIOD:
        codec.fail(WINDOW_CLOSED)

    game_id: bytes32 = self._new_id(GAME, claim_id)
    request_id: bytes32 = self.claims[claim_id].request_id
    stage_count: uint64 = convert(self.requests[request_id].request_terms >> 224, uint64)
    segment: Segment = Segment(
        phase=STAGES, lo=0, hi=stage_count,
        agreed=self.requests[request_id].first_run_hash, disputed=self.claims[claim_id].run_hash, turn=0
    )
    self.claims[claim_id].claim_word = claim_word + (1 << OPEN_GAMES_BIT) + (1 << CHALLENGER_MOVES_BIT)
    commitment: bytes32 = self._commitment(game_id, segment, NOTHING_POSTED)
    self.games[game_id] = Game(claim_id=claim_id, challenger=msg.sender, commitment=commitment, clock_word=FULL_CLOCK | block.timestamp)
    self._deposit()
    log Challenged(game_id=game_id, claim_id=claim_id, challenger=msg.sender)
    return game_id


# --- Moves of a game: spec §5.3 ---


@external
def post(game_id: bytes32, segment: Segment, hashes: Bytes[POSTED_BYTES]):
    """
    @notice Posts the hashes between the parts of the segment; a move of the server.
    @param segment What the game is about, as in its last Moved
    @param hashes One for the end of each part but the last
    """
    turn: Turn = self._begin(game_id, segment, NOTHING_POSTED, True, False)
    length: uint64 = segment.hi - segment.lo
    if length < 2:
        codec.fail(WRONG_MOVE)
    if len(hashes) != 32 * (self._part_count(length) - 1):
        codec.fail(WRONG_COUNT)
    self._moved(game_id, turn.clock_word, segment, hashes)


@external
def choose(game_id: bytes32, segment: Segment, hashes: Bytes[POSTED_BYTES], part: uint8):
    """
    @notice Names the first part whose end the challenger disputes; the game goes on in that part.
    @param segment What the game is about, as in its last Moved
    @param hashes Those that the server posted
    @param part Its number, from 0
    """
    turn: Turn = self._begin(game_id, segment, keccak256(hashes), len(hashes) == 0, False)
    if len(hashes) == 0:
        codec.fail(WRONG_MOVE)
    parts: uint256 = self._part_count(segment.hi - segment.lo)
    chosen: uint256 = convert(part, uint256)
    if chosen >= parts:
        codec.fail(NO_SUCH_PART)

    length: uint256 = convert(segment.hi - segment.lo, uint256)
    narrowed: Segment = segment
    narrowed.lo = segment.lo + convert(chosen * length // parts, uint64)
    narrowed.hi = segment.lo + convert((chosen + 1) * length // parts, uint64)
    if chosen > 0:
        narrowed.agreed = extract32(hashes, 32 * (chosen - 1))
    if chosen < parts - 1:
        narrowed.disputed = extract32(hashes, 32 * chosen)
    self.claims[turn.claim_id].claim_word = turn.claim_word + (1 << CHALLENGER_MOVES_BIT)
    self._moved(game_id, turn.clock_word + (1 << MOVES_BIT), narrowed, b"")


@external
def open(
    game_id: bytes32,
    segment: Segment,
    start_carry: bytes32,
    start_status: uint8,
    steps: uint64,
    final_state: Bytes[codec.STATE_BYTES + 1],
    left_root: bytes32,
    final_carry: bytes32,
):
    """
    @notice Opens the one stage that is left: shows its first and last machine state, between which the game goes on; a move of the server.
    @param segment What the game is about, as in its last Moved
    @param start_carry With start_status, what the stage before left
    @param steps How many steps the stage takes
    @param final_state The last machine state
    @param left_root Root of the left half of its memory
    @param final_carry Root of the right half, what the stage leaves
    """
    turn: Turn = self._begin(game_id, segment, NOTHING_POSTED, True, False)
    if segment.phase != STAGES or segment.hi - segment.lo != 1:
        codec.fail(WRONG_MOVE)
    if start_status > FAILED or self._run_hash(start_carry, start_status) != segment.agreed:
        codec.fail(WRONG_START)
    if start_status == FAILED:
        self._decide(game_id, turn, segment.agreed == segment.disputed)
        return

    if steps < 1 or convert(steps, uint256) > STAGE_STEP_LIMIT:
        codec.fail(STEP_COUNT)
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
    if segment.disputed != (self._run_hash(final_carry, OK) if ended_well else self._run_hash(start_carry, FAILED)):
        codec.fail(WRONG_END)

    model_root: bytes32 = self.requests[self.claims[turn.claim_id].request_id].model_root
    memory_root: bytes32 = merkle.node(merkle.node(merkle.ZERO[QUARTER_HEIGHT], model_root), start_carry)
    start_hash: bytes32 = codec.first_hash(ENTRY, convert(segment.lo, uint256), memory_root)
    inside: Segment = Segment(
        phase=INSTRUCTIONS, lo=0, hi=steps, agreed=start_hash, disputed=keccak256(final_state), turn=segment.turn
    )
    self._moved(game_id, turn.clock_word, inside, b"")


@external
def arbitrate(game_id: bytes32, segment: Segment, witness: Bytes[merkle.WITNESS_BYTES]):
    """
    @notice Executes the one instruction that is left, which decides the game. Anybody may.
    @param segment What the game is about, as in its last Moved
    @param witness The state before the instruction and the leaves that it touches
    """
    turn: Turn = self._begin(game_id, segment, NOTHING_POSTED, True, True)
    if segment.phase != INSTRUCTIONS or segment.hi - segment.lo != 1:
        codec.fail(WRONG_MOVE)
    before: bytes32 = empty(bytes32)
    after: bytes32 = empty(bytes32)
    before, after = staticcall Arbiter(ARBITER).step(witness, skip_contract_check=True)
    if before != segment.agreed:
        codec.fail(WRONG_STATE)
    self._decide(game_id, turn, after == segment.disputed)


@external
def timeout(game_id: bytes32, segment: Segment, hashes: Bytes[POSTED_BYTES]):
    """
    @notice Decides a game against the side whose time is over. Anybody may.
    @param segment What the game is about, as in its last Moved
    @param hashes Those that the server posted and nobody has answered; empty in a turn of the server
    """
    turn: Turn = self._playing(game_id, segment, keccak256(hashes))
    servers_turn: bool = len(hashes) == 0
    if block.timestamp - (turn.clock_word & codec.MASK64) <= self._time_left(turn.clock_word, servers_turn):
        codec.fail(NOT_OUT_OF_TIME)
    self._decide(game_id, turn, not servers_turn)


@internal
@view
def _playing(game_id: bytes32, segment: Segment, posted_hash: bytes32) -> Turn:
    """Reads an open game; fails unless it is at exactly this position."""
    claim_id: bytes32 = self.games[game_id].claim_id
    if claim_id == empty(bytes32):
        codec.fail(UNKNOWN_GAME)
    clock_word: uint256 = self.games[game_id].clock_word
    claim_word: uint256 = self.claims[claim_id].claim_word
    if clock_word >> GAME_STATUS_BIT != OPEN or self._claim_status(claim_word) != PENDING:
        codec.fail(GAME_OVER)
    if self.games[game_id].commitment != self._commitment(game_id, segment, posted_hash):
        codec.fail(STALE_POSITION)
    return Turn(claim_id=claim_id, clock_word=clock_word, claim_word=claim_word)


@internal
@view
def _begin(game_id: bytes32, segment: Segment, posted_hash: bytes32, servers_turn: bool, anyone: bool) -> Turn:
    """Makes the checks that all moves share, and charges the time used to the clock of whoever moves."""
    turn: Turn = self._playing(game_id, segment, posted_hash)
    if not anyone:
        mover: address = convert(turn.claim_word & MASK160, address) if servers_turn else self.games[game_id].challenger
        if msg.sender != mover:
            codec.fail(NOT_YOUR_TURN)
    used: uint256 = block.timestamp - (turn.clock_word & codec.MASK64)
    if used > self._time_left(turn.clock_word, servers_turn):
        codec.fail(OUT_OF_TIME)
    turn.clock_word = turn.clock_word + used - (used << (SERVER_LEFT_BIT if servers_turn else CHALLENGER_LEFT_BIT))  # turn_start + used = now
    return turn


@internal
def _moved(game_id: bytes32, clock_word: uint256, segment: Segment, hashes: Bytes[POSTED_BYTES]):
    """Stores where the game goes on: this segment, with these hashes posted."""
    after: Segment = segment
    after.turn += 1
    self.games[game_id].commitment = self._commitment(game_id, after, keccak256(hashes))
    self.games[game_id].clock_word = clock_word
    log Moved(game_id=game_id, segment=after, hashes=hashes)


@internal
def _decide(game_id: bytes32, turn: Turn, server_won: bool):
    """Ends a game and books the bond of whoever lost it: spec §5.5."""
    if server_won:
        moves: uint256 = (turn.clock_word >> MOVES_BIT) & (2**16 - 1)
        self.games[game_id].clock_word = turn.clock_word | (SERVER_WON << GAME_STATUS_BIT)
        self.claims[turn.claim_id].claim_word = turn.claim_word - (1 << OPEN_GAMES_BIT) - (moves << CHALLENGER_MOVES_BIT)
        self.accounts[convert(turn.claim_word & MASK160, address)] += CHALLENGER_SHARE << CREDIT_BIT
        self.held = self.held - CHALLENGER_BOND + ((CHALLENGER_BOND - CHALLENGER_SHARE) << BURNED_BIT)
    else:
        burned: uint256 = SERVER_BOND - self._wei_per_move(turn.claim_word) * (turn.claim_word >> CHALLENGER_MOVES_BIT)
        self.games[game_id].clock_word = turn.clock_word | (CHALLENGER_WON << GAME_STATUS_BIT)
        self.claims[turn.claim_id].claim_word = turn.claim_word | (REJECTED << CLAIM_STATUS_BIT)
        self.requests[self.claims[turn.claim_id].request_id].request_word -= 1 << PENDING_CLAIMS_BIT
        self.held = self.held - burned + (burned << BURNED_BIT)
    self.games[game_id].commitment = empty(bytes32)
    log Decided(game_id=game_id, claim_id=turn.claim_id, server_won=server_won)


@internal
@view
def _wei_per_move(claim_word: uint256) -> uint256:
    """Computes what one move of a challenger earns; the number of moves no longer changes once the claim is rejected."""
    return SERVER_SHARE // (claim_word >> CHALLENGER_MOVES_BIT)


@internal
@view
def _part_count(length: uint64) -> uint256:
    """Counts the parts that a segment of this length is cut into."""
    return min(K, convert(length, uint256))


@internal
@pure
def _time_left(clock_word: uint256, servers_turn: bool) -> uint256:
    """Reads the seconds that one side has left."""
    return (clock_word >> (SERVER_LEFT_BIT if servers_turn else CHALLENGER_LEFT_BIT)) & codec.MASK64


@internal
@pure
def _commitment(game_id: bytes32, segment: Segment, posted_hash: bytes32) -> bytes32:
    """Hashes all that is needed to go on with a game."""
    return keccak256(
        concat(
            game_id, convert(segment.phase, bytes1), convert(segment.lo, bytes8), convert(segment.hi, bytes8),
            segment.agreed, segment.disputed, posted_hash, convert(segment.turn, bytes8)
        )
    )


# --- After the games: spec §5.4 to §5.6 ---


@external
def finalise(claim_id: bytes32, carry: bytes32, status: uint8, output: Bytes[OUTPUT_BYTES], proof: Bytes[merkle.PROOF_BYTES]):
    """
    @notice Makes a claim final once its challenge period and its games are over, reads its output and pays the server. Anybody may.
    @param carry With status, the preimage of the claimed hash
    @param output The leaves of the output, from its count on; nothing if the run failed
    @param proof Their bitmap and siblings up to the carry
    """
    claim_word: uint256 = self._known_claim(claim_id)
    if self._claim_status(claim_word) != PENDING:
        codec.fail(CLAIM_NOT_PENDING)
    if block.timestamp < self.claims[claim_id].claimed_at + CHALLENGE_PERIOD:
        codec.fail(WINDOW_OPEN)
    if (claim_word >> OPEN_GAMES_BIT) & (2**40 - 1) != 0:
        codec.fail(GAMES_OPEN)
    if status > FAILED or self._run_hash(carry, status) != self.claims[claim_id].run_hash:
        codec.fail(WRONG_OUTPUT)
    outcome: uint8 = status
    needed: uint256 = 0  # leaves that the result is made of
    if status == FAILED:
        if len(output) + len(proof) != 0:
            codec.fail(WRONG_OUTPUT)
    else:
        outcome, needed = self._read_output(carry, output, proof)

    request_id: bytes32 = self.claims[claim_id].request_id
    server: address = convert(claim_word & MASK160, address)
    earned: uint256 = SERVER_BOND
    self.claims[claim_id].claim_word = claim_word | (FINAL << CLAIM_STATUS_BIT)
    self.requests[request_id].request_word -= 1 << PENDING_CLAIMS_BIT
    result: Bytes[OUTPUT_BYTES] = slice(output, 0, 32 * needed)
    if self.requests[request_id].result == empty(bytes32):
        self.requests[request_id].result = claim_id
        if outcome == OK:
            self.requests[request_id].output_hash = keccak256(result)
        earned += self.requests[request_id].fee
    self._credit(server, earned)
    log Finalised(claim_id=claim_id, request_id=request_id, outcome=outcome, output=result)


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

    # The subtree over the leaves, by the frontier as in `request`.
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


@external
def collect(game_id: bytes32):
    """
    @notice Credits a challenger with its bond and its share of the server's, once the claim is rejected. Anybody may.
    """
    claim_id: bytes32 = self.games[game_id].claim_id
    if claim_id == empty(bytes32):
        codec.fail(UNKNOWN_GAME)
    clock_word: uint256 = self.games[game_id].clock_word
    status: uint256 = clock_word >> GAME_STATUS_BIT
    claim_word: uint256 = self.claims[claim_id].claim_word
    if self._claim_status(claim_word) != REJECTED or status == SERVER_WON or status == COLLECTED:
        codec.fail(NOTHING_TO_COLLECT)
    moves: uint256 = (clock_word >> MOVES_BIT) & (2**16 - 1)
    self.games[game_id].clock_word = clock_word | (COLLECTED << GAME_STATUS_BIT)
    self._credit(self.games[game_id].challenger, CHALLENGER_BOND + self._wei_per_move(claim_word) * moves)


@external
def reclaim(request_id: bytes32):
    """
    @notice Credits the requester with its fee, once the deadline is over and no claim is pending or final.
    """
    request_terms: uint256 = self.requests[request_id].request_terms
    if request_terms == 0:
        codec.fail(UNKNOWN_REQUEST)
    if convert(msg.sender, uint256) != request_terms & MASK160:
        codec.fail(NOT_THE_REQUESTER)
    request_word: uint256 = self.requests[request_id].request_word
    undecided: bool = block.timestamp <= (request_terms >> 160) & codec.MASK64 or request_word >> PENDING_CLAIMS_BIT != 0
    if undecided or self.requests[request_id].result != empty(bytes32):
        codec.fail(NOT_ALL_FAILED)
    self.requests[request_id].request_word = request_word | (1 << RECLAIMED_BIT)
    self._credit(msg.sender, self.requests[request_id].fee)


@external
def withdraw_to(to: address):
    """
    @notice Pays out all that the sender is credited with.
    @param to Who gets it
    """
    account: uint256 = self.accounts[msg.sender]
    amount: uint256 = account >> CREDIT_BIT
    if amount == 0:
        codec.fail(NOTHING_TO_WITHDRAW)
    self.accounts[msg.sender] = account & codec.MASK64
    self.flow += amount << PAID_OUT_BIT
    if not raw_call(to, b"", value=amount, revert_on_failure=False):
        codec.fail(PAYMENT_FAILED)


@external
@view
def parameters() -> Parameters:
    """
    @notice Returns what the deployment fixed.
    """
    return FIXED


# --- Words that the chapters above share ---


@internal
@pure
def _run_hash(carry: bytes32, status: uint8) -> bytes32:
    """Hashes what a stage leaves to the next one."""
    return keccak256(concat(carry, convert(status, bytes1)))


@internal
def _new_id(kind: bytes1, content: bytes32) -> bytes32:
    """Makes an id of its content, its maker and the number of ids that the maker had before."""
    account: uint256 = self.accounts[msg.sender]
    self.accounts[msg.sender] = account + 1
    return keccak256(concat(kind, convert(msg.sender, bytes20), convert(convert(account & codec.MASK64, uint64), bytes8), content))


@internal
@view
def _known_claim(claim_id: bytes32) -> uint256:
    """Reads the packed word of a claim; fails if there is none."""
    claim_word: uint256 = self.claims[claim_id].claim_word
    if claim_word == 0:
        codec.fail(UNKNOWN_CLAIM)
    return claim_word


@internal
@pure
def _claim_status(claim_word: uint256) -> uint256:
    """Reads the status from the packed word of a claim."""
    return (claim_word >> CLAIM_STATUS_BIT) & 255


@internal
@payable
def _deposit():
    """Books the money that came with the call as locked."""
    self.held += msg.value
    self.flow += msg.value


@internal
def _credit(account: address, amount: uint256):
    """Moves money from locked to credited."""
    self.accounts[account] += amount << CREDIT_BIT
    self.held -= amount
