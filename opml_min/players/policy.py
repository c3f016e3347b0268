"""What a player is willing to do: on which models, for what fee, with how much of its money."""

from attrs import frozen

YEAR = 31_536_000  # seconds


@frozen
class Policy:
    """The limits that a player sets itself. The defaults suit a player with one model and a machine that is always on."""

    models: frozenset[bytes] | None = None  # ids; None: every one that was registered with the image's roots
    least_stage_microseconds: int = 1  # a model that is declared to be faster than this is not relied on
    most_work_seconds: int = YEAR  # of one request, as its model declares
    least_fee_wei: int = 1
    most_pending_claims: int = 64  # of a server
    line_slack_seconds: int = 3_600  # how much longer the line may have become when a claim arrives
    reserve_wei: int = 0  # never bonded, so that there is always gas
    claims_after_loss: bool = False  # a server that lost a claim has less time, so it had better go on under another address
    claims_beside_true: bool = False  # also where a claim of the same result stands, in case that one is stalled
    finalises_others_after_seconds: int | None = None  # of a validator: true claims, so long after that became legal; costs gas

    def accepts(self, model_id: bytes, stage_microseconds: int) -> bool:
        """Whether to work on a model with the right roots."""
        return stage_microseconds >= self.least_stage_microseconds and (self.models is None or model_id in self.models)

    def work_seconds(self, stage_count: int, stage_microseconds: int) -> int:
        return -(-stage_count * stage_microseconds // 1_000_000)
