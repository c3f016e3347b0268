"""The ops of training, one idea per file. A kernel computes some units of an op: rows, weights, heads or products.

Every kernel is `f(base, words, first, end, chunk, scratch, shared)`:
base: where the machine's memory is mapped · words: i64, the operands, and from SETTINGS on seed, update, rate and decay
[first, end): the units to compute, which are number `chunk` of equal pieces · scratch: process address of the thread's own bytes
shared: i64, what the phases of one op leave for one another. So no result depends on the number of threads.
"""
