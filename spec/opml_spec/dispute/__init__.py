"""The dispute: runs of stages, and the game that two players play about one. `spec/README.md` sections 2 and 6."""
