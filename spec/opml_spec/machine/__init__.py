"""The machine: RV64IM on 2^40 bytes that have a Merkle root.

Its text is spec §2, in the README of this folder.

Reading order: `merkle`, `memory`, `state` say what a machine is; `formats`, `table`, `alu` how an instruction is written down;
`instructions/` are the 65 of them; `decode`, `step` put them to use; `start` and `witness` are the two ways in.
"""
