"""The page beside a build's record: written once, renewed with its report, and never over what others wrote."""

from __future__ import annotations

from kit import reports

from visiondeploy.pipeline.pages import PAGE, PLOTS, keep_page, write_page


class TestKeepPage:
    def test_is_written_once(self, tmp_path) -> None:
        keep_page(tmp_path, reports.report(), "unet")
        before = (tmp_path / PAGE).stat()
        keep_page(tmp_path, reports.report(), "unet")
        assert (tmp_path / PAGE).stat().st_ino == before.st_ino

    def test_is_that_of_the_report(self, tmp_path) -> None:
        keep_page(tmp_path, reports.report(), "unet")
        keep_page(tmp_path, reports.report(reports.baseline()), "unet")
        assert "unet-int8-openvino" not in (tmp_path / PAGE).read_text(encoding="utf-8")

    def test_goes_with_its_report(self, tmp_path) -> None:
        keep_page(tmp_path, reports.report(), "unet")
        keep_page(tmp_path, None, "unet")
        assert list(tmp_path.iterdir()) == []
        keep_page(tmp_path, None, "unet")

    def test_what_others_wrote_stays(self, tmp_path) -> None:
        (tmp_path / PAGE).write_text("mine")
        for report in (reports.report(), None):
            keep_page(tmp_path, report, "unet")
            assert (tmp_path / PAGE).read_text() == "mine"


def test_plots_of_an_earlier_report_go_and_other_files_stay(tmp_path) -> None:
    (tmp_path / PLOTS).mkdir()
    for name in ("server.png", "holiday.png"):
        (tmp_path / PLOTS / name).touch()
    write_page(tmp_path / PAGE, reports.report(reports.baseline()), "unet", plots=True)
    names = {path.name for path in (tmp_path / PLOTS).iterdir()}
    assert names == {"holiday.png", "types.png", "types.svg"}
