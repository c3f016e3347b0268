"""The embedded model, the training run that made it, and what recomputes that run."""
