"""A verdict as JUnit XML, as Jenkins, GitLab and others read it: one test case for each check.

The shape is that of Surefire and of Jenkins' junit-10.xsd: testsuites / testsuite / properties, testcase / failure or
skipped. XML 1.0 has no control characters, not even escaped, so that they are made visible as in tables.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from visiondeploy.benchmarks.report.headline import headline, sentence
from visiondeploy.benchmarks.report.schema import Check, Environment, Report
from visiondeploy.types import Outcome

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report, suite: str, *, allow_inconclusive: bool = False) -> bytes:
    """XML in UTF-8. What is INCONCLUSIVE is a failure, and where it is allowed a skipped test."""
    cases = [_case(check, suite, allow_inconclusive) for check in report.verdict.checks]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": "0",
    }
    overall = {name: counts[name] for name in ("tests", "failures", "errors", "time")}
    root = Xml.Element("testsuites", {"name": _text("visiondeploy"), **overall})
    element = Xml.SubElement(root, "testsuite", {"name": _text(suite), **counts})
    properties = Xml.SubElement(element, "properties")
    for name, value in (("verdict", report.verdict.status.value), *_environment(report.environment)):
        Xml.SubElement(properties, "property", {"name": _text(name), "value": _text(value)})
    element.extend(cases)
    said = Xml.SubElement(element, "system-out")
    said.text = _text(headline(report.verdict))
    Xml.indent(root)
    found: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _case(check: Check, suite: str, allow_inconclusive: bool) -> Xml.Element:
    """A test: its class is the suite with the engine, its name the quantity."""
    engine, _, quantity = check.name.rpartition(": ")
    where = f"{suite}.{engine}" if engine else suite
    case = Xml.Element("testcase", {"classname": _text(where), "name": _text(quantity), "time": "0"})
    if check.status is Outcome.PASS:
        return case
    skipped = check.status is Outcome.INCONCLUSIVE and allow_inconclusive
    kind = {} if skipped else {"type": check.status.value}
    said = Xml.SubElement(case, "skipped" if skipped else "failure", {"message": _text(sentence(check)), **kind})
    said.text = _text(
        f"limit: {check.limit}\nfound: {check.found}" + (f"\nneeded: {check.needed}" if check.needed else "")
    )
    return case


def _environment(environment: Environment) -> list[tuple[str, str]]:
    """What a reader of the results wants to know of the machine."""
    found = {
        "cpu": environment.cpu,
        "isa": " ".join(environment.isa),
        "threads": environment.threads,
        "gpu": environment.gpu,
        "os": environment.os,
        "python": environment.python,
        **{f"version.{name}": version for name, version in environment.versions.items()},
        **{f"env.{name}": value for name, value in environment.variables.items()},
    }
    return [(name, str(value)) for name, value in found.items() if value not in {None, ""}]


def _text(text: str) -> str:
    return _NO_XML.sub("�", text)
