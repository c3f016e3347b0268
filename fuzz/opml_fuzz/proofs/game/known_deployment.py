"""A deployment with known parameters: the specification's `deploy` beside the constructor on the embedded EVM.

A counterexample about the constructor is printed as a test that calls `differences_of_deployment`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import z3
from attrs import astuple
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import BadParameters, SpecError

from evm_arbiter.chain import Artefact, Chain, Reverted
from opml_fuzz.proofs.game.constructor import DeploymentProof
from opml_fuzz.proofs.game.immutables import IMMUTABLES, SIZE, WORD_BYTES, expected
from opml_fuzz.proofs.questions import Failure
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT
from opml_fuzz.statements.game_bytecode import OK, REFUSED, TEST_NAME

NO_CODE = "0x" + 20 * "ee"
"""An address at which there is no contract."""
NEAR_UNITS = 20_000_000  # of z3's work, for each parameter that may have another value
TEST = """
from opml_fuzz.proofs.game.known_deployment import differences_of_deployment


def {name}() -> None:
    parameters = {parameters}
    assert differences_of_deployment(parameters{others}) == {{}}{what}
"""


def committed() -> Artefact:
    """The game as it is committed."""
    return Artefact.load("game")


def differences_of_deployment(
    parameters: tuple[int, ...], value: int = 0, has_code: bool = True, game: Artefact | None = None
) -> Mapping[str, tuple[Any, Any]]:
    """What the specification and the constructor make of these parameters, wherever it is not the same: the answer, or immutables.

    has_code: whether there is code at the arbiter's address; game: other bytecode than the committed game contract"""
    chain = Chain()
    arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0]).address if has_code else NO_CODE
    ours = by_specification(parameters, value, int(arbiter, 16), has_code)
    theirs = by_contract(chain, parameters, value, arbiter, game or committed())
    return {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)}


def by_specification(parameters: tuple[int, ...], value: int, arbiter: int, has_code: bool) -> Mapping[str, Any]:
    """How a deployment ends: what is said, and the immutables."""
    if value:
        return {"answer": REFUSED}
    try:
        rules = deploy(Parameters(*parameters)).parameters
    except SpecError as error:
        return {"answer": error.number}
    if not has_code:  # the court of the specification knows no arbiter
        return {"answer": BadParameters.number}
    return {"answer": OK, **expected(rules, arbiter, (rules.k - 1).bit_length())}


def by_contract(chain: Chain, parameters: tuple[int, ...], value: int, arbiter: str, game: Artefact) -> Mapping[str, Any]:
    try:
        contract = chain.deploy(game, arbiter, parameters, sender=chain.accounts[0], value=value)
    except Reverted as error:
        return {"answer": REFUSED if error.number is None else error.number}
    words = chain.node.code(bytes.fromhex(contract.address[2:]))[-SIZE:]
    found = (int.from_bytes(words[at : at + WORD_BYTES], "big") for at in range(0, SIZE, WORD_BYTES))
    return {"answer": OK, **dict(zip(IMMUTABLES, found, strict=True))}


def reproducer_of_deployment(proof: DeploymentProof, failure: Failure, game: Artefact | None) -> str:
    """Writes the test; empty if no parameters are found with which the two differ. game: the bytecode, if it is not the committed one"""
    for model in models(proof, failure):
        parameters, value, has_code = meaning(proof, model)
        found = differences_of_deployment(parameters, value, has_code, game)
        if found:
            others = f", value={value}" if value else ""
            others += "" if has_code else ", has_code=False"
            shown = (f"\n    # {name}: {ours} in the specification, {theirs} in the contract" for name, (ours, theirs) in found.items())
            return TEST.format(name=TEST_NAME, parameters=parameters, others=others, what="".join([*shown][:3]))
    return ""


def meaning(proof: DeploymentProof, model: Any) -> tuple[tuple[int, ...], int, bool]:
    """Reads the deployment in a model. What it leaves open is as by default."""
    known = {name: model.eval(it) for name, it in proof.parameters.items()}
    default = dict(zip(known, astuple(Parameters()), strict=True))
    parameters = tuple(int(it.as_long()) if z3.is_bv_value(it) else default[name] for name, it in known.items())
    sent = model.eval(proof.sent, model_completion=True).as_long()
    return parameters, min(int(sent), 1), not z3.is_false(model.eval(proof.is_contract))


def models(proof: DeploymentProof, first: Failure) -> Iterator[Any]:
    """Yields what z3 finds if all parameters but one are the defaults, with real products and quotients; then what it found by itself."""
    default = dict(zip(proof.parameters, astuple(Parameters()), strict=True))
    a, b = (z3.Var(place, z3.BitVecSort(256)) for place in range(2))
    for failure in proof.failures or [first]:
        real = [z3.substitute_funs(one, (PRODUCT, a * b), (DIVISION, z3.UDiv(a, b))) for one in failure.formulas]
        for free in proof.parameters if real else ():
            fixed = [(it, z3.BitVecVal(default[name], it.size())) for name, it in proof.parameters.items() if name != free]
            simple = [z3.simplify(z3.substitute(one, *fixed), ctrl_c=False) for one in real]
            if not any(map(z3.is_false, simple)):
                answer, model = proof.questions.ask(simple, NEAR_UNITS)
                if answer == z3.sat:
                    yield model
        if failure.model is not None:
            yield failure.model
