"""The ops of the tape as compiled code that works in place on the machine's memory, and leaves exactly the bytes that the guest leaves.

`stages` walks the tape, `work_sharing` divides ops among threads, and `fixed`, `floats` and `vector` hold the arithmetic.

*Source*: spec/README.md §4, §5 and §7.
"""
