"""The verdict for a job's summary."""

from __future__ import annotations

from kit import reports

from visiondeploy.benchmarks.report.summary import to_summary


def test_what_is_wrong_first_then_the_checks_then_the_engines_folded() -> None:
    text = to_summary(reports.report(), "mine")
    lines = text.splitlines()
    assert lines[0] == "## ❌ Suite mine: FAIL"
    assert lines[2].startswith("**FAIL: parity 14.8 dB")
    assert text.index("| parity |") < text.index("<details>") < text.index("Testor 9000") < text.index("</details>")
    # GitHub reads Markdown within HTML only after an empty line.
    assert "<details><summary>Engines</summary>\n\n" in text
    assert text.endswith("</details>\n")


def test_names_are_not_taken_for_markdown() -> None:
    text = to_summary(reports.report(), "a_b*c<script>")
    assert "a\\_b\\*c\\<script\\>" in text
