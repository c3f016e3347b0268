"""Training jobs: a training run in a folder, which survives any interruption, and which others recompute whole or in shards."""
