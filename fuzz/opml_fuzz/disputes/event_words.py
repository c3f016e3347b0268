"""The names of an event's words, so that a finding says `settles_at` and not `word 11`.

What has no fixed length stands after the others, behind its length; its own word is where it begins.

*Source*: spec §5.11.
"""

SEGMENT = "phase lo hi agreed disputed"
EVENT_WORDS = {
    "Registered": "model_id model_root state_root stage_microseconds",
    "Requested": "request_id model_id requester stage_count deadline fee bond server data",
    "Claimed": "claim_id request_id server sealed index checked_at closes_at",
    "Opened": f"node_id claim_id opener parent_id part {SEGMENT} since due server_left challengers_left price",
    "Answered": f"node_id claim_id state {SEGMENT} hashes since server_left settles_at",
    "Fallen": "claim_id node_id at",
    "Expired": "claim_id at",
    "Finalised": "claim_id request_id outcome run_hash output",
    "Collected": "node_id",
    "Awarded": "claim_id request_id",
    "PassedOver": "claim_id request_id",
    "Reclaimed": "request_id",
    "Credited": "account subject amount",
    "Burned": "subject amount",
    "Withdrawn": "account to amount",
}


def name_of(event: str, place: int) -> str:
    """Names a word of an event, the first of which is 0."""
    names = EVENT_WORDS.get(event, "").split()
    return names[place] if place < len(names) else f"word {place + 1}"
