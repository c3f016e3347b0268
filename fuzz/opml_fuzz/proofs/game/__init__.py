"""The game's bytecode against the specification's acts, for all courts, times, senders and arguments.

Reading order: `layout` says how a court lies in storage, and what holds of every court. `facts` and `arithmetic` are what z3 is told,
`storage` and `machine` are the contract's world (on `proofs/evm/`), `numbers`, `tables` and `court` are the specification's. `calls` are
the entry points with their arguments, `equivalence` compares both worlds, and `game_prover` proves a statement by name.
"""
