"""One static site from the texts where they lie and from the docstrings of the specification; `python -m docs` builds it."""
