"""The result of a campaign as a file that other tools read: JUnit's XML for test reports, SARIF for code scanning.

*Source*: the XML schema of Apache Ant's JUnit task, as CI services read it; OASIS, "Static Analysis Results Interchange Format (SARIF)
Version 2.1.0".
"""

import json
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.kinds import KINDS, kind_of
from opml_fuzz.fuzzing.loop import RunReport
from opml_min.cli.parser import path

NAME = "opml-fuzz"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def report_file(text: str) -> Path:
    """Parses the name of a report, whose suffix says what it is."""
    file = path(text)
    if file.suffix not in (".xml", ".sarif"):
        raise ArgumentTypeError(f"{text[:50]!r} ends neither in .xml (JUnit) nor in .sarif")
    if not file.parent.is_dir():
        raise ArgumentTypeError(f"there is no folder {file.parent}")
    if file.is_dir():
        raise ArgumentTypeError(f"{text[:50]!r} is a folder")
    return file


def write_report(file: Path, report: RunReport, replays: Sequence[Path]) -> None:
    """Writes the result. replays: the files of the differences"""
    text = junit(report, replays) if file.suffix == ".xml" else json.dumps(sarif(report, replays), indent=1) + "\n"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


def said(difference: Difference, replay: Path) -> str:
    return "\n".join([*difference.comments, f"replay: {NAME} replay {replay}"])


def junit(report: RunReport, replays: Sequence[Path]) -> str:
    """Writes a test suite with one test per kind of cases, and one more for each further difference."""
    by_kind: dict[str, list[tuple[Difference, Path]]] = {kind: [] for kind in sorted(KINDS)}
    for difference, replay in zip(report.differences, replays, strict=True):
        by_kind[kind_of(difference.case)].append((difference, replay))
    errors = [(work, "it ended its worker process", "lost") for work in report.lost]
    errors += [(line, "it was not tried", "unusable") for line in report.unusable]
    tests = sum(max(1, len(found)) for found in by_kind.values()) + len(errors)
    counts = {"name": NAME, "time": f"{report.seconds:.3f}", "tests": str(tests), "skipped": "0"}
    counts |= {"failures": str(len(report.differences)), "errors": str(len(errors))}
    top = Element("testsuites", counts)
    suite = SubElement(top, "testsuite", counts)
    properties = SubElement(suite, "properties")
    for name, value in (("seed", report.seed), ("cases", report.cases), ("court_acts", report.court_acts), ("sweep", float(report.sweep))):
        SubElement(properties, "property", name=name, value=str(value))
    for kind, found in by_kind.items():
        if not found:
            SubElement(suite, "testcase", classname=NAME, name=kind, time="0")
        for difference, replay in found:
            case = SubElement(suite, "testcase", classname=NAME, name=f"{kind}: {printable(difference.title)}", time="0")
            failure = SubElement(case, "failure", message=printable(difference.title), type="difference")
            failure.text = printable(f"{said(difference, replay)}\n\n{difference.program}")
    for name, message, kind in errors:
        case = SubElement(suite, "testcase", classname=NAME, name=printable(name), time="0")
        SubElement(case, "error", message=message, type=kind)
    indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(top, encoding="unicode")}\n'


def printable(text: str) -> str:
    """Replaces what cannot stand in XML, as a target may answer anything."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def sarif(report: RunReport, replays: Sequence[Path]) -> dict[str, Any]:
    """Writes a run with one result per difference; its rule is the kind of the case, its place the replay file."""
    rules = [{"id": kind, "shortDescription": {"text": f"Implementations disagree about a case of kind {kind}"}} for kind in sorted(KINDS)]
    results = [
        {
            "ruleId": kind_of(difference.case),
            "ruleIndex": sorted(KINDS).index(kind_of(difference.case)),
            "level": "error",
            "message": {"text": f"{difference.title}\n{said(difference, replay)}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": replay.as_posix()}, "region": {"startLine": 1}}}],
            "partialFingerprints": {"title/v1": difference.title},
        }
        for difference, replay in zip(report.differences, replays, strict=True)
    ]
    told = [*(f"{work}: it ended its worker process" for work in report.lost), *(f"not tried: {line}" for line in report.unusable)]
    errors = [{"level": "error", "message": {"text": text}} for text in told]
    invocation = {"executionSuccessful": not errors, **({"toolExecutionNotifications": errors} if errors else {})}
    driver = {"name": NAME, "version": installed_version(), "rules": rules}
    properties = {name: value for name, value in report.to_json().items() if name not in ("differences", "lost", "unusable")}
    runs = [{"tool": {"driver": driver}, "invocations": [invocation], "results": results, "properties": properties}]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}


def installed_version() -> str:
    try:
        return version("opml")
    except PackageNotFoundError:
        return "unknown"
