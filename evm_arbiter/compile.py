"""Compiles `contracts/*.vy` into `artefacts/*.json`: `python -m evm_arbiter.compile [NAME…]`; without a name, all of them.

The artefacts are committed, so nobody needs the compiler to run the contracts. A test compiles again and compares.
Compiler settings are pragmas in the sources, repeated in the artefact. The compiler also computes the constants of a contract.
"""

import json
import sys
from pathlib import Path
from typing import Any

from evm_arbiter.chain import ARTEFACTS, keccak256

CONTRACTS = Path(__file__).parent / "contracts"
OUTPUTS = ["abi", "bytecode", "bytecode_runtime", "settings_dict"]


def contracts() -> list[str]:
    """The names of all contracts."""
    return sorted(path.stem for path in CONTRACTS.glob("*.vy"))


def compile_contract(name: str) -> dict[str, Any]:
    """Compiles one contract to its artefact, which is the same on every machine."""
    import vyper  # a developer extra, so imported only where it is used
    from vyper.compiler.input_bundle import FilesystemInputBundle

    bundle = FilesystemInputBundle([CONTRACTS])
    source = bundle.load_file(Path(f"{name}.vy"))
    output = vyper.compiler.compile_from_file_input(source, input_bundle=bundle, output_formats=OUTPUTS)
    return {
        "contract": name,
        "compiler": f"vyper {vyper.__version__}",
        "settings": output["settings_dict"],
        "source_keccak256": "0x" + keccak256(source.source_code.encode()).hex(),
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
        compiled = compile_contract(contract)
        (ARTEFACTS / f"{contract}.json").write_text(artefact_text(compiled))
        print(f"{contract}: {compiled['runtime_bytes']} bytes")
