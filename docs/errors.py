"""The error of a text from which no page can be made."""


class TextError(Exception):
    """Says which text is meant, and what is wrong with it."""
