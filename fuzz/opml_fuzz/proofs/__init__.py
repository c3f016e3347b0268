"""Proofs of the statements by z3.

`symbols` and `prover` are for predicates, `evm/` and `step/` for the bytecode. `run` proves by name; `ledger` writes what was proved.
"""
