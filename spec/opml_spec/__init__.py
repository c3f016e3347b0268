"""The executable specification of opML. It is a book. Its text is `spec/README.md` and the README of each folder, and the text is
right where they differ. Read it in this order; a chapter uses only the ones before it.

0. `words`, `errors`, `hashing`: the vocabulary.
1. `arithmetic/`: every rounding, in one place each.
2. `machine/`: one step of RV64IM on a memory with a Merkle root, and how to show that step to somebody who has only the root.
3. `model/`: what a model's bytes mean, and what each stage of a run computes.
4. `runs/`: how stages follow one another.
5. `dispute/`: how two parties who disagree on a run are brought to disagree on one step, and who is paid.
6. `training/`: runs that leave trained weights in the state quarter.

Nothing here is fast, remembers anything, or reads a file: it is to be read, imported, tested against and proved about.
"""
