"""The model: what lies where in the memory, and what every operation of the tape means. `spec/README.md` sections 3 and 5."""
