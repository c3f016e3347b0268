"""Stages on an accelerator: one kernel on the bytes of the model and the state, and the engine that keeps host and card the same."""
