"""The step of the specification against the step of the arbiter's bytecode.

Reading order: `machine_symbols` and `specification` are one world, `arbiter` is the other (on `proofs/evm/`), `ending` is how either ends.
`access` and `lemma` are about one access to the memory, `equivalence` about whole calls. `bytecode_prover` proves a statement by name, and
`counterexample` makes a test of what z3 finds.
"""
