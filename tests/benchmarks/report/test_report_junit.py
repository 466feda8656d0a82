"""JUnit XML in the shape that Jenkins, GitLab and Surefire's readers take."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import reports

from visiondeploy.benchmarks.report.headline import headline, sentence
from visiondeploy.benchmarks.report.junit import to_junit
from visiondeploy.benchmarks.report.schema import Check, Report, Verdict
from visiondeploy.types import Outcome

# Of Jenkins' junit-10.xsd, for the elements that are written: attributes that may be there, children in their order.
SHAPE = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        ["properties", "testcase", "system-out"],
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": ({"classname", "name", "time"}, ["skipped", "failure"]),
    "failure": ({"message", "type"}, []),
    "skipped": ({"message"}, []),
    "system-out": (set(), []),
}


def check_shape(element: Xml.Element) -> None:
    attributes, children = SHAPE[element.tag]
    assert set(element.attrib) <= attributes, element.tag
    places = [children.index(child.tag) for child in element]
    assert places == sorted(places)
    for child in element:
        check_shape(child)


def judged(*checks: Check) -> Report:
    return reports.report().model_copy(update={"verdict": Verdict.of(checks)})


def a_check(status: Outcome, **fields) -> Check:
    return Check(**{"name": "unet: miou", "limit": "at most 0.5", "found": "−3", "status": status, **fields})


class TestJunit:
    @pytest.mark.parametrize("allowed", [False, True])
    def test_the_shape_and_the_counts(self, allowed) -> None:
        root = Xml.fromstring(to_junit(judged(*map(a_check, Outcome)), "mine", allow_inconclusive=allowed))
        check_shape(root)
        (found,) = root
        cases = found.findall("testcase")
        assert (found.get("tests"), len(cases)) == ("3", 3)
        assert found.get("failures") == root.get("failures") == ("1" if allowed else "2")
        assert found.get("skipped") == ("1" if allowed else "0")
        assert int(found.get("failures")) == sum(case.find("failure") is not None for case in cases)
        assert {case.get("classname") for case in cases} == {"mine.unet"}
        assert {case.get("name") for case in cases} == {"miou"}

    def test_the_environment_is_there(self) -> None:
        root = Xml.fromstring(to_junit(judged(a_check(Outcome.PASS)), "mine"))
        found = {each.get("name"): each.get("value") for each in root.iter("property")}
        assert found["cpu"] == "Testor 9000"
        assert found["threads"] == "2"
        assert found["version.torch"] == "2.14.1"
        assert found["verdict"] == "PASS"

    @given(st.text(min_size=1), st.text(), st.text())
    @settings(deadline=None, derandomize=True)
    def test_any_text_is_xml(self, name, limit, found) -> None:
        check = a_check(Outcome.FAIL, name=name, limit=limit, found=found)
        check_shape(Xml.fromstring(to_junit(judged(check), "mine")))

    def test_control_characters_are_visible(self) -> None:
        data = to_junit(judged(a_check(Outcome.FAIL, found="\x1b[31m\x00 <&>")), "mine")
        failure = Xml.fromstring(data).find(".//failure")
        assert "�[31m� <&>" in failure.text


class TestHeadline:
    def test_the_first_of_the_worst_and_how_many_more(self) -> None:
        checks = [a_check(Outcome.INCONCLUSIVE), a_check(Outcome.FAIL, name="a: b"), a_check(Outcome.FAIL)]
        assert headline(Verdict.of(checks)) == "FAIL: a: b −3 (limit: at most 0.5), and 1 more"
        assert headline(Verdict.of([a_check(Outcome.PASS)])) == "PASS: 1 of 1 check passed."
        assert headline(Verdict.of([])) == "INCONCLUSIVE: there was no limit to check."

    def test_it_is_one_line_and_says_what_would_decide(self) -> None:
        check = a_check(Outcome.INCONCLUSIVE, found="a\nb\x1b", needed="about 90 images in all would decide")
        assert sentence(check) == "unet: miou a b� (limit: at most 0.5; about 90 images in all would decide)"
