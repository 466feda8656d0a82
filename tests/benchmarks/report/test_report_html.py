"""The page as a file: valid, self-contained, and nothing in it that a name could break."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from kit import full_reports, reports

from visiondeploy.benchmarks.report.html.page import to_html
from visiondeploy.benchmarks.report.html.pictures import BUDGET, MOST_IMAGES, Album, album
from visiondeploy.benchmarks.report.html.version import digest, digest_of
from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.report.plots.colours import DARK, LIGHT
from visiondeploy.benchmarks.report.plots.table import plots
from visiondeploy.benchmarks.report.schema import Report, Verdict
from visiondeploy.types import Precision

VOID = {"meta", "img", "input", "br", "link", "hr"}
EVIL = """<script>alert("x")</script>]]>-->'&amp;${7*7}{{7*7}}"""
REPORTS = {
    "engines": full_reports.engines,
    "painters": full_reports.painters,
    "compressed": lambda: reports.compressed(4),
    "every status": reports.report,
    "bare": lambda: reports.report(reports.baseline(quality=None, latency_ms=None, realised=None)),
}


def page(report: Report, pictures: Album | None = None, title: str = "unet", command: str | None = None) -> str:
    return to_html(report, title, plots(report), pictures or Album(), command)


class Parsed(HTMLParser):
    """Elements with their attributes, the text outside styles and scripts, and what is not nested well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.stack]

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data) -> None:
        if not {"script", "style"} & {*self.stack}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(count: int = 2, size: tuple[int, int] = (48, 64)) -> Album:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    classes = np.zeros((*size, 3), np.uint8)
    classes[:, 20:] = (255, 0, 0)
    labels = (("input", photo), ("truth", classes), (f"engine {EVIL}", classes))
    return album([labels for _ in range(count)], [("road", (0, 0, 0)), ("sky", (255, 0, 0))])


@pytest.fixture(scope="module", params=REPORTS, name="parsed")
def of_each_report(request) -> Parsed:
    return Parsed(page(REPORTS[request.param](), shown()))


class TestStructure:
    def test_is_nested_well(self, parsed) -> None:
        assert parsed.faults == []

    def test_has_its_landmarks_and_one_heading_of_the_first_order(self, parsed) -> None:
        for tag in ("h1", "header", "main", "nav", "footer"):
            assert len(parsed.of(tag)) == 1, tag
        assert parsed.of("html")[0]["lang"] == "en"

    def test_ids_are_unique_and_all_anchors_lead_somewhere(self, parsed) -> None:
        ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
        assert len(ids) == len({*ids})
        anchors = {attributes["href"] for attributes in parsed.of("a")}
        assert anchors <= {f"#{one}" for one in ids}

    def test_pictures_and_plots_say_what_they_show(self, parsed) -> None:
        assert all(attributes.get("alt") for attributes in parsed.of("img"))
        drawn = [attributes for attributes in parsed.of("svg") if attributes.get("aria-hidden") != "true"]
        assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)

    def test_cells_that_head_a_table_say_of_what(self, parsed) -> None:
        assert parsed.of("th")
        assert all(attributes.get("scope") in {"col", "row"} for attributes in parsed.of("th"))
        assert len(parsed.of("table")) == len(parsed.of("caption"))

    def test_every_control_has_a_label(self, parsed) -> None:
        controls = len(parsed.of("input")) + len(parsed.of("select"))
        assert controls == len(parsed.of("label")) == 5


class TestSelfContained:
    def test_nothing_is_loaded(self, parsed) -> None:
        for tag, attributes in parsed.elements:
            for name in ("src", "href", "data", "action", "poster", "srcset", "xlink:href"):
                value = attributes.get(name) or ""
                assert value == "" or value.startswith(("#", "data:image/")), (tag, value)
        assert parsed.of("link") == []

    def test_the_policy_allows_this_style_and_this_script_alone(self) -> None:
        text = page(full_reports.engines())
        policy = next(
            meta["content"] for meta in Parsed(text).of("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy is not None
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for tag in ("style", "script"):
            (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
            digest_of_it = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest_of_it}'" in policy

    def test_nothing_has_a_style_or_a_handler_of_its_own(self, parsed) -> None:
        for tag, attributes in parsed.elements:
            assert not [name for name in attributes if name == "style" or name.startswith("on")], tag

    def test_no_address_is_in_style_or_script(self) -> None:
        text = page(full_reports.painters())
        assert not re.search(r"https?://|@import|url\(", text)


class TestEscaping:
    def test_of_names_and_sentences(self) -> None:
        rows = [
            reports.baseline().model_copy(update={"name": f"a-{EVIL}"}),
            reports.row(f"b-{EVIL}", EVIL, Precision.INT8, realised={EVIL: 3}, surprises=(EVIL,), notes=(EVIL,)),
            reports.broken().model_copy(update={"reason": EVIL}),
        ]
        verdict = Verdict.of(
            check.model_copy(update={"name": EVIL, "found": EVIL, "limit": EVIL}) for check in reports.verdict().checks
        )
        report = Report.model_validate({**dict(reports.report(*rows)), "verdict": verdict})
        parsed = Parsed(page(report, shown(), title=EVIL, command=EVIL))
        assert parsed.faults == []
        assert len(parsed.of("script")) == 1
        assert EVIL in parsed.text

    def test_control_characters_are_shown_as_such(self) -> None:
        row = reports.baseline().model_copy(update={"name": "a\x00b\x1b[31m"})
        parsed = Parsed(page(reports.report(row), title="t\x07"))
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", parsed.text)


class TestContent:
    def test_the_verdict_comes_first_with_what_broke_it(self) -> None:
        parsed = Parsed(page(full_reports.engines()))
        text = parsed.text
        assert text.index("FAIL") < text.index("Checks")
        reason = "unet-camvid-int8-onnxruntime: speed-up: found 5.08×, 95 % interval 4.81 to 5.22, limit at least 6×."
        assert reason in text
        assert "✕ 1 failed ? 1 inconclusive ✓ 7 passed" in text
        assert "FAIL: unet" in text

    @pytest.mark.parametrize(("checks", "words"), [((), "There was no limit to check."), ((2,), "14.8 dB")])
    def test_other_verdicts(self, checks, words) -> None:
        known = reports.verdict().checks
        report = Report.model_validate(
            {**dict(reports.report()), "verdict": Verdict.of(known[number] for number in checks)}
        )
        assert words in Parsed(page(report)).text

    def test_sections_stand_in_their_order(self) -> None:
        names = [one["id"] for one in Parsed(page(full_reports.engines(), shown())).of("section")]
        assert names == [
            "checks",
            "surprises",
            "engines",
            "tradeoff",
            "latency",
            "quality",
            "pictures",
            "layers",
            "scenarios",
            "noise",
            "environment",
            "guide",
        ]

    def test_what_the_report_does_not_hold_has_no_section(self) -> None:
        names = [one["id"] for one in Parsed(page(REPORTS["bare"]())).of("section")]
        assert names == ["checks", "engines", "environment", "guide"]

    def test_of_losses_less_is_better(self) -> None:
        text = page(full_reports.painters())
        assert "less is better, and further up" in text
        assert "Quality by layer" in text
        assert "Structural similarity" in text
        assert "intersection over union" not in text

    def test_an_engine_that_was_not_run_says_why(self) -> None:
        text = Parsed(page(reports.report())).text
        assert "unet-int8-tensorrt was not run: tensorrt is not installed" in text

    def test_a_percentile_that_is_not_supported_is_a_dash(self) -> None:
        latency = Latency(p50=5.0, p90=None, p99=None, n=3, raw=(5.0, 5.0, 5.0), blocks=(5.0, 5.0))
        text = Parsed(page(reports.report(reports.baseline(latency_ms=latency)))).text
        assert "– / –" in text

    def test_the_command_is_told(self) -> None:
        assert "deploy bench a b" in Parsed(page(reports.report(), command="deploy bench a b")).text


class TestPictures:
    def test_an_album_keeps_the_budget(self) -> None:
        rng = np.random.default_rng(1)
        noise = [("photo", rng.integers(0, 256, (900, 1200, 3), dtype=np.uint8)) for _ in range(8)]
        found = album([noise] * 9)
        assert 1 <= len(found.images) <= MOST_IMAGES
        assert found.left_out == 9 - len(found.images)
        assert sum(len(picture.address) for row in found.images for picture in row) <= BUDGET * 4 / 3 + 1000
        assert {picture.width for row in found.images for picture in row} <= {640, 320, 160}

    def test_classes_keep_their_colours(self) -> None:
        from io import BytesIO

        from PIL import Image as Pillow

        (truth,) = [picture for picture in shown(1).images[0] if picture.label == "truth"]
        image = Pillow.open(BytesIO(base64.b64decode(truth.address.split(",")[1]))).convert("RGB")
        assert {colour for _, colour in image.getcolors()} == {(0, 0, 0), (255, 0, 0)}

    def test_are_all_there_without_scripts(self) -> None:
        parsed = Parsed(page(reports.report(), shown(2)))
        sheet = [attributes["alt"] for attributes in parsed.of("img") if str(attributes["alt"]).startswith("Image ")]
        assert len(sheet) == 6
        assert sheet[0] == "Image 1: input"

    def test_an_album_is_read_as_it_was_written(self) -> None:
        assert Album.model_validate_json(shown().model_dump_json()) == shown()

    @pytest.mark.parametrize("address", ["https://example.org/a.png", "javascript:alert(1)", 'data:image/png;base64,"'])
    def test_an_address_is_a_picture(self, address) -> None:
        found = shown().model_dump()
        found["images"][0][0]["address"] = address
        with pytest.raises(ValueError, match="address"):
            Album.model_validate(found)


class TestDigest:
    def test_is_that_of_the_report(self, tmp_path) -> None:
        report = reports.report()
        (tmp_path / "a.html").write_text(page(report, title="t"), encoding="utf-8")
        assert digest_of(tmp_path / "a.html") == digest(report.to_json(), "t", "")

    def test_of_what_is_none_of_ours(self, tmp_path) -> None:
        (tmp_path / "a.html").write_text("<html><body>mine</body></html>")
        assert digest_of(tmp_path / "a.html") is None
        assert digest_of(tmp_path / "missing.html") is None


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", [role for role in LIGHT if role not in {"grid", "paper", "band"}])
@pytest.mark.parametrize("ground", ["paper", "band"])
def test_text_in_each_colour_can_be_read(palette, role, ground) -> None:
    light, dark = sorted((luminance(palette[role]), luminance(palette[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
