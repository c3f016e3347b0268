"""A small symbolic EVM: it runs bytecode on words that stand for all words.

Reading order: `words` are what the stack holds, `pieces` and `memory` what lies in memory, `code` is the bytecode that is deployed,
`instructions` say what each opcode does to a path, and `machine` runs all paths to their ends.
"""
