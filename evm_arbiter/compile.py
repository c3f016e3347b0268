"""Compiles `contracts/*.vy` into `artefacts/*.json`: `python -m evm_arbiter.compile [NAME…]`; without a name, all of them.

The artefacts are committed, so nobody needs the compiler to run the contracts. A test compiles again and compares.
Compiler settings are pragmas in the sources, repeated in the artefact. The compiler also computes the constants of a contract.
`contracts/modules/*.vy` are not deployed: the contracts that import them contain their code.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from evm_arbiter.chain import ARTEFACTS, keccak256

CONTRACTS = Path(__file__).parent / "contracts"
OUTPUTS = ["abi", "bytecode", "bytecode_runtime", "settings_dict"]


def contracts() -> list[str]:
    """The names of all contracts."""
    return sorted(path.stem for path in CONTRACTS.glob("*.vy"))


def sources() -> dict[str, str]:
    """All texts, of contracts and modules, by their path below `contracts`."""
    return {path.relative_to(CONTRACTS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(CONTRACTS.rglob("*.vy"))}


def outputs(name: str, texts: Mapping[str, str], wanted: list[str]) -> dict[str, Any]:
    """Has the compiler make what is wanted of one contract."""
    import vyper  # a developer extra, so imported only where it is used
    from vyper.compiler.input_bundle import JSONInputBundle

    bundle = JSONInputBundle({PurePath(path): {"content": text} for path, text in texts.items()}, search_paths=[PurePath(".")])
    source = bundle.load_file(PurePath(f"{name}.vy"))
    output: dict[str, Any] = vyper.compiler.compile_from_file_input(source, input_bundle=bundle, output_formats=wanted)
    return output


def source_sha256(name: str, texts: Mapping[str, str]) -> str:
    """The hash of a contract's text and of those of the modules that it imports."""
    return f"0x{outputs(name, texts, ['integrity'])['integrity']}"


def compile_contract(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Compiles one contract into its artefact; the same on every machine."""
    import vyper

    output = outputs(name, texts, OUTPUTS)
    return {
        "contract": name,
        "compiler": f"vyper {vyper.__version__}",
        "settings": output["settings_dict"],
        "source_sha256": source_sha256(name, texts),
        "runtime_keccak256": "0x" + keccak256(bytes.fromhex(output["bytecode_runtime"][2:])).hex(),
        "runtime_bytes": len(output["bytecode_runtime"]) // 2 - 1,
        "abi": output["abi"],
        "creation_bytecode": output["bytecode"],
    }


def artefact_text(artefact: dict[str, Any]) -> str:
    """The text of an artefact file."""
    return json.dumps(artefact, indent=1) + "\n"


if __name__ == "__main__":
    for contract in sys.argv[1:] or contracts():
        compiled = compile_contract(contract, sources())
        (ARTEFACTS / f"{contract}.json").write_text(artefact_text(compiled), encoding="utf-8")
        print(f"{contract}: {compiled['runtime_bytes']} bytes")
