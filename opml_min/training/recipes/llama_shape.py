"""The sizes of a LLaMA that is trained.

*Source*: spec §6.9.
"""

from attrs import frozen


@frozen
class LlamaShape:
    """The sizes, how finely the residual stream is stored, and the base of the rotary frequencies."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    eps_q48: int = round(1e-5 * 2**48)
    r: int = 16
    theta: float = 10000.0

    @property
    def query_length(self) -> int:
        """Length of all query heads side by side."""
        return self.heads * self.head_size

    @property
    def key_length(self) -> int:
        return self.kv_heads * self.head_size
