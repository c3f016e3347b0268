"""A small symbolic EVM: it runs bytecode on words that stand for all words.

Reading order: `words` are what the stack holds, `pieces` and `memory` what lies in memory, `code` is the bytecode that is deployed,
`path` is a state with
its conditions, `instructions` say what each opcode does to it, and `machine` runs all paths to their ends.
"""
