"""The machine: RV64IM on 2^40 bytes that have a Merkle root. `spec/README.md` section 1 is the text, this folder is the program.

Reading order: `merkle`, `memory`, `state` say what a machine is; `formats`, `table`, `alu` how an instruction is written down;
`instructions/` are the 65 of them; `decode`, `step` put them to use; `start` and `witness` are the two ways in.
"""
