"""One measurement of `opml bench`: a value, the value of a peer on the same work, and a limit."""

from attrs import frozen


@frozen
class Row:
    """A measured value. There is a peer if this computer has one, and a limit if the value must keep one."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value divided by the peer's."""
        return self.value / self.peer_value if self.peer_value else None

    def holds(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def fields(self) -> dict[str, str | float]:
        """What is known, by name, for the JSON object."""
        every: dict[str, str | float | None] = {
            "name": self.name, "value": self.value, "unit": self.unit,
            "peer": self.peer, "peer_value": self.peer_value, "ratio": self.ratio, "limit": self.limit,
        }  # fmt: skip
        return {key: value for key, value in every.items() if value is not None}

    def line(self) -> str:
        """The row for people."""
        against = "" if self.ratio is None else f"  {self.ratio:.2f} × {self.peer} ({self.peer_value:,.6g})"
        limit = "" if self.limit is None else f"  limit {self.limit:,.6g}{'' if self.holds() else ': EXCEEDED'}"
        return f"{self.name:<32} {self.value:>14,.6g} {self.unit}{against}{limit}"
