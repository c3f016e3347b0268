"""A small symbolic EVM: it runs bytecode on words that stand for all words.

Reading order: `words` are what the stack holds, `memory` what lies in memory, `code` is the bytecode that is deployed. A `path` is a state
with the conditions under which it is reached, `instructions` say what each opcode does to it, and `machine` runs all paths to their ends.
`calldata` is what the call brings along.
"""
