"""Statements about the game's deployed bytecode: whatever the court, an entry point does what the specification's act does.

Both accept, or both refuse with the same number; afterwards the same is stored, the same events are logged, the same is returned, and the
same is paid to the same address. `reaches` says how the act can end, and a proof must have met each of these ends.

*Source*: spec §5.3 to §5.7 and §5.11.
"""

from attrs import frozen

OK, REFUSED = "ok", "refused"
CONSTRUCTOR = "constructor"
OF_WITNESS = "the number of the witness's error"
OF_OUTPUT = "the number of the output's error"
TEST_NAME = "test_a_call_that_differs"  # how a counterexample is called that can be pasted

ASSUMED = (
    "The game is deployed with the default parameters, and its call has as many bytes as the arguments need.",
    "The sender is not zero; the time is from 1 to 2^39 − 1; the base fee is below 2^128, and so is what is sent with all deposits before.",
    "What is stored fits together: a claim has its request, which counts it, a request its model, a node its claim; what does not exist is "
    "zero, and so are bits that belong to no field. What is left of a fee is all of it, or nothing if it is paid.",
    "Flags, states and outcomes have one of their values. A stage takes less than 2^32 microseconds, a request has 1 to 2^24 stages.",
    "A request has a time in the line if and only if it has claims. Without a result its hashes are zero, with one they are not.",
    "A claim has nodes if and only if its root exists; only the root has depth 1; only a rejected claim fell at a node, which exists.",
    "The depth of that node is at most 13, and its path has a part less. Its id is made of the claim's id and of one part after the other.",
    "While a claim is pending, its request counts it as such, and its bond is locked.",
    "No claim closes at 2^39 or later. An open node is counted by its claim. No server lost a claim at a time that is yet to come.",
    "What the hash of a node names is a segment of the run or of a stage. If it is posted, there is a hash at each inner boundary.",
    "Of an open root it is the whole run, from the first run hash to the seal. Once its one stage was opened, it is one instruction.",
    "What is locked, burned and paid out is not more than what was deposited. No node has a time that is yet to come in `since`.",
    "Numbers fit the fields of the layout after the act: counts 32 bits, money 128, times 40, 56 or 64, the prices of a claim 76. None is "
    "negative, nor is what is left locked on the way.",
    "No two preimages have the same hash, no hash is zero, and different places of the storage have different slots.",
    "A witness has at most 3,769 bytes, hashes that are posted 2,048, the data of a request 16,385, an output 32,769 and its proof 1,094.",
    "The arbiter answers a witness as `execute_witness` does, whatever that is: the statements `bytecode` say so.",
    "Gas suffices, and whoever is paid either takes the money or not; what it calls meanwhile is a call of its own.",
)

ASSUMED_OF_OPEN = (
    *ASSUMED,
    "A request begins well: its first run hash is that of some carry and OK. The last machine state that the call brings has 297 bytes.",
)
"""What is assumed of a call of `open`."""

IDS = "A request's id is made of its requester and of how many requests that had made before, which is less than those made by now."
ROOTS = "The contract's function `_io_root` returns the root of `io_quarter` and writes only into its own memory, whatever the request."
OUTCOMES = "The outcome of a request that was answered is that of the run hash which answered it: equal run hashes have equal outcomes."
OUTPUTS = (
    "The contract's function `_read_output` answers as `read_result` does and writes only into its own memory, whatever the bytes: with an "
    "error, with UNREADABLE, or with as many leaves as the number of tokens in the output needs, and these are there."
)

STAKES = "While a claim with nodes is pending, its bond, their bonds and what is left of the fee are locked, as the rules about money say."

ASSUMED_OF_A_DEPLOYMENT = (
    "The arguments are of their types: the arbiter an address, the money 128 bits, all other parameters 64 bits. What is sent has 128.",
    "Whether there is code at the arbiter's address is open. If there is none, the deployment is refused as with wrong parameters.",
    "Gas suffices, and memory that was never written is zero.",
)
"""What is assumed of a deployment."""


@frozen
class GameStatement:
    """A statement that `proofs/game/` proves by running both worlds. subject: the entry point; reaches: how it can end"""

    name: str
    says: str
    subject: str
    reaches: frozenset[int | str]
    assumes: tuple[str, ...] = ASSUMED


def about(
    subject: str, says: str, *errors: int | str, payable: bool = False, scope: str = "", assumes: tuple[str, ...] = ASSUMED
) -> GameStatement:
    """Makes a statement. scope: of which calls, if it is not all; it is a part of the name"""
    ends = frozenset((OK, *errors, *(() if payable else (REFUSED,))))
    return GameStatement(f"game.{subject}{scope}", says, subject, ends, assumes)


STATEMENTS = (
    about("register", "`register` stores and logs a model as the specification does, and changes no model that is known", 234),
    about(
        "request", "`request` locks its fee and stores where the run begins, under an id of its own, if it brings at most 16,385 bytes",
        201, 206, 207, 208, 235, 236, 237, payable=True, assumes=(*ASSUMED, IDS, ROOTS),
    ),
    about(
        "claim", "`claim` stakes exactly the bond, and the first one joins the line and pays for it", 202, 205, 208, 209, 238, 239, 240,
        payable=True,
    ),
    about("challenge", "`challenge` opens the root for the exact bond while the window is open", 203, 205, 210, 211, 241, payable=True),
    about(
        "post", "`post` answers a node with the hashes between its parts, if the call brings at most 2,048 bytes of hashes",
        204, 209, 210, 215, 216, 217, 219, 220, 244,
    ),
    about(
        "open", "`open` of a stage before which the run had failed answers the node if nothing changes in it; else the claim falls",
        204, 209, 210, 215, 216, 217, 219, 222, 244, scope="_failed", assumes=ASSUMED_OF_OPEN,
    ),
    about(
        "open", "`open` of any other stage answers the node with the hashes inside it, if the call brings at most 2,048 bytes of them",
        102, 204, 209, 210, 215, 216, 217, 219, 220, 222, 223, 224, 225, 244, scope="_ran", assumes=ASSUMED_OF_OPEN,
    ),
    about(
        "choose", "`choose` opens a node for a part of a posted one, if the call brings at most 2,048 bytes of hashes",
        204, 205, 210, 215, 216, 217, 221, 242, 243, payable=True,
    ),
    about(
        "finalise", "`finalise` makes a claim final that nobody challenged, sets the first result, and pays bond and fee to the server",
        203, 210, 212, 213, 227, 245, 246, OF_OUTPUT, scope="_undisputed", assumes=(*ASSUMED, OUTCOMES, OUTPUTS),
    ),
    about(
        "finalise", "`finalise` makes a claim final that survived its disputes, and pays its server the share of the nodes' bonds, too",
        210, 212, 213, 227, 245, 246, OF_OUTPUT, scope="_disputed", assumes=(*ASSUMED, OUTCOMES, OUTPUTS, STAKES),
    ),
    about("expire", "`expire` rejects a claim after the grace, and pays the requester its share", 203, 210, 213, 247),
    about("timeout", "`timeout` makes a claim fall at a node that is out of time, and burns what nobody is due", 204, 210, 216, 218),
    about(
        "arbitrate", "`arbitrate` asks the arbiter about the witness; then the node is answered, or the claim falls",
        204, 210, 215, 216, 217, 219, 226, OF_WITNESS,
    ),
    about(
        "collect", "`collect` credits the opener of a node that is not on the way to where its claim fell, once, with its bond and gas",
        204, 228, scope="_elsewhere",
    ),
    about(
        "collect", "`collect` credits the opener of a node on the way to where its claim fell, once, with bond and share; it burns the gas",
        228, scope="_on_the_way",
    ),
    about("award", "`award` pays the fee to a final claim, passes over others, and waits for the pending ones that may hold it", 203, 248),
    about("reclaim", "`reclaim` pays the fee back once nothing can earn it", 202, 230),
    about("withdraw_to", "`withdraw_to` pays all of the sender's credit, once, to the address that it names, or fails with 233", 231),
    about("result_of", "`result_of` returns what the first final claim showed, and fails while there is none", 202, 249),
    about("model_of", "`model_of` returns what is known of a model, and zeros for any other id"),
    about("request_of", "`request_of` returns what is known of a request, and zeros for any other id"),
    about("claim_of", "`claim_of` returns what is known of a claim, with the id of the node at which it fell, and zeros for any other id"),
    about("node_of", "`node_of` returns what is known of a node, and zeros for any other id"),
    about("account_of", "`account_of` returns what is known of an address"),
    about("books", "`books` returns where all the money is"),
    about("parameters", "`parameters` returns what the deployment fixed"),
    GameStatement(
        f"game.{CONSTRUCTOR}",
        "the constructor refuses the parameters that the specification refuses; else it leaves the code with them as immutables",
        CONSTRUCTOR, frozenset((OK, REFUSED, 232)), ASSUMED_OF_A_DEPLOYMENT,
    ),
)

GAPS = (
    "The game's `open` with a last state of another length than 297 bytes, which is refused with 102: fuzzed, not proved.",
    "`post`, `open` and `choose` with more than 2,048 bytes of hashes, which are refused without a number: fuzzed, not proved.",
    "The contract's `_io_root` and `_read_output`, with loops over leaves and siblings, are unknown functions in the statements on "
    "`request` and `finalise`. That they compute the specification's root and result is fuzzed, not proved.",
    "`request` and `finalise` with more bytes than the contract takes, which are refused without a number: fuzzed, not proved.",
    "The game's entry points with other parameters than the defaults, and calls of another length: fuzzed, not proved.",
    "What the game's constructor does with arguments that are not of their types, or too few: not proved.",
    "What the proofs about the game assume of every court is true at first; that every act keeps it is not proved of all of it, but tried "
    "after every act of random plays.",
    "Views, events and their encoding: `disputes/wire/` reads them off the specification's court, as in the fuzzer; the specification has "
    "no code for them.",
    "Facts about products and quotients of words that by their form have fewer than 256 bits: proved for six widths of them, not for all.",
)
