"""Native execution of a tape: the checks before it, the grouping of ops and positions, the threads, and the kernels."""
