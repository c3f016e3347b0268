"""The committed artefacts are what the sources compile to, and small enough to be deployed."""

import pytest

from evm_arbiter.chain import ARTEFACTS, Artefact, Chain, keccak256
from evm_arbiter.compile import artefact_text, compile_contract, contracts, source_sha256, sources

MAX_CODE_BYTES = 24_576  # EIP-170
MAX_CREATION_BYTES = 49_152  # EIP-3860


def test_every_contract_has_its_artefact_and_no_other_exists() -> None:
    assert [path.stem for path in sorted(ARTEFACTS.glob("*.json"))] == contracts()


@pytest.mark.parametrize("name", contracts())
def test_artefact_is_what_the_source_compiles_to(name: str) -> None:
    compiled = compile_contract(name, sources())
    assert (ARTEFACTS / f"{name}.json").read_text() == artefact_text(compiled)
    assert compiled["runtime_bytes"] <= MAX_CODE_BYTES
    assert len(compiled["creation_bytecode"]) // 2 - 1 <= MAX_CREATION_BYTES


@pytest.mark.parametrize(("name", "modules"), [("arbiter", ["codec", "merkle"]), ("game", ["bounds", "codec", "merkle", "objects"])])
def test_the_hash_of_the_source_covers_the_modules(name: str, modules: list[str]) -> None:
    """It covers the modules that the contract imports, and no others."""
    texts = sources()
    before = source_sha256(name, texts)
    after = {path: source_sha256(name, {**texts, path: texts[path] + "# more\n"}) for path in texts}
    changed = {path: text for path, text in after.items() if text != before}
    assert sorted(changed) == sorted([f"{name}.vy", *(f"modules/{module}.vy" for module in modules)])
    assert len(set(changed.values())) == len(changed)


def test_deployed_code_is_the_runtime_bytecode_with_the_zero_subtrees_behind_it() -> None:
    chain = Chain()
    arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
    compiled = compile_contract("arbiter", sources())
    code = chain.node.code(bytes.fromhex(arbiter.address[2:]))
    assert "0x" + keccak256(code[: compiled["runtime_bytes"]]).hex() == compiled["runtime_keccak256"]
    zero = bytes(32)
    for height in range(35):
        place = compiled["runtime_bytes"] + 32 * height
        assert code[place : place + 32] == zero
        zero = keccak256(zero + zero)
    assert len(code) == compiled["runtime_bytes"] + 35 * 32
