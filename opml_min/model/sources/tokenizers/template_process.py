"""The process that renders a chat template: Jinja's sandbox, in a process that may use little time, memory and stack.

The sandbox keeps a template away from Python's objects. It does not bound what a template computes, `{{ "x" * 10**12 }}` for example; the
limits of the process do. It reads one JSON object from stdin and writes one to stdout.

*Source*: Hugging Face's `transformers`, `utils/chat_template_utils.py` (the variables, filters, tags and options); POSIX, `setrlimit`.
"""

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 29
MOST_CHARACTERS = 1 << 20  # of the text; a request holds 4,090 tokens


class Refused(Exception):
    """The template says that it cannot be used like this."""


def limit() -> None:
    """Limit time, memory, and files for the rest of this process."""
    try:
        import resource
    except ImportError:  # not on Windows: there the limit on time alone holds
        return
    for what, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, 0)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def render(template: str, question: str, bos_token: str, eos_token: str) -> str:
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag that marks what an assistant wrote. Here it only renders what it encloses."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def refuse(message: object) -> NoReturn:
        raise Refused(str(message))

    def as_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    extensions: list[Any] = ["jinja2.ext.loopcontrols", Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda style: datetime.now().strftime(style)
    return environment.from_string(template).render(
        messages=[{"role": "user", "content": question}], tools=None, documents=None, add_generation_prompt=True,
        bos_token=bos_token, eos_token=eos_token,
    )  # fmt: skip


def answer() -> dict[str, Any]:
    """Return the text, or else the problem, and whether the template itself refused."""
    try:
        text = render(**json.load(sys.stdin))
    except Refused as error:
        return {"problem": str(error), "refused": True}
    except MemoryError:
        return {"problem": "it needs too much memory", "refused": False}
    except RecursionError:
        return {"problem": "it is nested too deeply, or calls itself for ever", "refused": False}
    except Exception as error:  # a template can cause any kind
        return {"problem": f"{type(error).__name__} {str(error)[:200]}", "refused": False}
    if len(text) > MOST_CHARACTERS:
        return {"problem": f"its text has more than {MOST_CHARACTERS} characters", "refused": False}
    return {"text": text}


if __name__ == "__main__":
    limit()
    json.dump(answer(), sys.stdout)
