"""Native execution of a tape: what is checked first, how ops are grouped, the threads and the kernels."""
