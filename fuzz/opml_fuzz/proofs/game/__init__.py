"""The game's bytecode against the specification's acts, for all courts, times, senders and arguments.

Reading order: `layout` says how a court lies in storage, and what holds of every court. `facts` and `arithmetic` are what z3 is told,
`storage` and `machine` are the contract's world (on `proofs/evm/`), `numbers`, `tables`, `stored_objects` and `court` are the
specification's. `equivalence` compares both worlds. What it finds `replay` plays again in `known_court`, where nothing is a symbol.
`constructor` is a proof of its own, on `constructor_machine`, `parameters_by_k` and `immutables`; `known_deployment` plays it again.
`game_prover` proves a statement by name.
"""
