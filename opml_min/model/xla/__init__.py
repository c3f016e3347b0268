"""How a tape is computed by XLA, the compiler behind JAX, on any device that it knows: the ops as pure functions of arrays."""
