"""The executable specification of opML. It is a book; `spec/README.md` is the text that it makes precise, and is right where they differ.

Read it in this order. A chapter uses only the ones before it.

1. `words`, `errors`, `hashing`: the vocabulary.
2. `machine/`: one step of RV64IM on a memory with a Merkle root, and how to show that step to somebody who has only the root.
3. `arithmetic/`: every rounding, in one place each.
4. `model/`: what a model's bytes mean, and what each stage of a run computes.
5. `dispute/`: how two parties who disagree on a run are brought to disagree on one step, and who is paid.

Nothing here is fast, remembers anything, or reads a file: it is to be read, imported, tested against and proved about.
"""
