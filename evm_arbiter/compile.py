"""Compiles `contracts/*.vy` into `artefacts/*.json`: `python -m evm_arbiter.compile [NAME…]`, all without a name.

The artefacts are committed, so nobody needs the compiler to run the contracts; a test compiles again and compares.
Settings stand in the sources as pragmas and are repeated in the artefact. Constants of a contract are computed by the compiler.
"""

import json
import sys
from pathlib import Path
from typing import Any

from evm_arbiter.chain import ARTEFACTS, keccak256

CONTRACTS = Path(__file__).parent / "contracts"
OUTPUTS = ["abi", "bytecode", "bytecode_runtime", "settings_dict"]


def contracts() -> list[str]:
    """Names of all contracts."""
    return sorted(path.stem for path in CONTRACTS.glob("*.vy"))


def compile_contract(name: str) -> dict[str, Any]:
    """The artefact of one contract; the same on every machine."""
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
    """As it stands in the file."""
    return json.dumps(artefact, indent=1) + "\n"


if __name__ == "__main__":
    for contract in sys.argv[1:] or contracts():
        compiled = compile_contract(contract)
        (ARTEFACTS / f"{contract}.json").write_text(artefact_text(compiled))
        print(f"{contract}: {compiled['runtime_bytes']} bytes")
