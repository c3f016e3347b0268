"""What each op of the tape computes, as compiled integer code that works in place on the machine's memory.

Every kernel leaves exactly the bytes that the guest leaves. `fixed_point` holds the shared arithmetic, `addressing` the view of the
memory, then one file an op; `stages` walks the tape.

*Source*: spec/README.md §4 and §5.
"""
