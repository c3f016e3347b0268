"""The dispute: one tree per claim, its clocks, its money and its result; the text of this chapter is the README beside it (5)."""
