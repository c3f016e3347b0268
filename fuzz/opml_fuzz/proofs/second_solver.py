"""A second solver that must agree: bitwuzla, which shares no code with z3, reads the same questions as SMT-LIB.

*Source*: Niemetz, Preiner, "Bitwuzla" (2023); The SMT-LIB Standard, version 2.7.
"""

from collections.abc import Iterable

from opml_fuzz.errors import InputError


def disagreements(queries: Iterable[str]) -> list[str]:
    """Returns those questions that z3 answered with unsat and bitwuzla does not."""
    try:
        import bitwuzla  # a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"bitwuzla is not installed ({error}): pip install 'opml[dev]'") from error
    found = []
    for query in queries:
        terms = bitwuzla.TermManager()
        parser = bitwuzla.Parser(terms, bitwuzla.Options())
        parser.parse(query.replace("(check-sat)", ""), True, False)
        if parser.bitwuzla().check_sat() != bitwuzla.Result.UNSAT:
            found.append(query)
    return found
