"""The players of a dispute: requester, servers and challengers, honest and cheating. They know the chain only as a protocol class."""
