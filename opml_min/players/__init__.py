"""The players of the dispute game: servers and challengers, honest ones and cheats. They know the chain only as a protocol class."""
