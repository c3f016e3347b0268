"""Proofs of the statements by z3.

- `symbols` and `prover` are for predicates; floats are in `ieee`.
- `evm/`, `step/` and `game/` are for the bytecode, with the `questions` that z3 is asked.
- `exploration`, `strings`, `symbolic_world` and `induction` are for the rules of the game.
- `known_values` and `known_world` make tests of counterexamples to both; so do `step/counterexample` and `game/replay`.
- `by_name` proves any statement and gives a `verdict`; `second_solver` asks another solver; `ledger` writes what was proved.
- `stoppable` lets a signal end a proof; `unsupported` is what cannot be run on symbols.
"""
