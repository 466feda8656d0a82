from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.pictures import contact_sheet, save_png, side_by_side
from visiondeploy.errors import ResourceError, UsageError
from visiondeploy.types import Image

LEGEND = (("road", (128, 64, 128)), ("tree", (128, 128, 0)))


def photograph(height: int = 60, width: int = 80) -> Image:
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


def mask(height: int = 60, width: int = 80) -> Image:
    classes = np.arange(height)[:, None] // 7 % 2 + np.zeros((height, width), dtype=int)
    return np.array([colour for _, colour in LEGEND], dtype=np.uint8)[classes]


def colours(image: Pillow.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


class TestSideBySide:
    def test_holds_every_picture_at_the_width_asked_for(self) -> None:
        columns = [("input", photograph()), ("truth", mask()), ("engine", mask())]
        narrow, wide = (side_by_side(columns, panel_width=width) for width in (80, 160))
        assert wide.mode == "RGB"
        assert wide.width - narrow.width == 3 * 80
        assert wide.height - narrow.height == 60

    def test_masks_are_scaled_without_new_colours(self) -> None:
        image = side_by_side([("truth", mask())], panel_width=173)
        pixels = np.asarray(image)
        left, top = 24, image.height - 24 - round(60 * 173 / 80)
        panel = pixels[top : image.height - 24, left : left + 173].reshape(-1, 3)
        assert {tuple(pixel) for pixel in panel.tolist()} == {colour for _, colour in LEGEND}

    def test_a_panel_of_its_own_size_is_not_touched(self) -> None:
        picture = photograph()
        image = np.asarray(side_by_side([("input", picture)], panel_width=80))
        assert np.array_equal(image[-24 - 60 : -24, 24 : 24 + 80], picture)

    def test_legend_shows_every_class(self) -> None:
        without, image = (side_by_side([("input", photograph())], legend=legend) for legend in ((), LEGEND))
        assert image.height > without.height
        assert {colour for _, colour in LEGEND} <= colours(image)

    def test_a_long_legend_wraps(self) -> None:
        many = [(f"class number {index}", (index, 0, 255)) for index in range(40)]
        image = side_by_side([("input", photograph())], legend=many)
        assert {colour for _, colour in many} <= colours(image)

    def test_labels_are_drawn_within_their_column(self) -> None:
        label = "a label that is far longer than its panel is wide " * 3 + "\nΔ 8.9× été"
        image = np.asarray(side_by_side([(label, mask()), ("", mask())], panel_width=100))
        header = image[24:60]
        assert (header[:, 24:124] < 128).any()
        assert (header[:, 125:] == 255).all()


class TestContactSheet:
    def test_rows_stack_under_one_line_of_labels(self) -> None:
        row = [("input", photograph()), ("engine", mask())]
        one, two = contact_sheet([row]), contact_sheet([row, row])
        assert one.width == two.width
        assert 240 < two.height - one.height < 260

    def test_pictures_of_any_shape(self) -> None:
        image = contact_sheet(
            [[("a", photograph(30, 90)), ("b", photograph(90, 30))], [("a", mask(1, 1)), ("b", mask())]]
        )
        assert image.height > 90

    @pytest.mark.parametrize("rows", [[], [[]]])
    def test_no_pictures(self, rows: list[list[tuple[str, Image]]]) -> None:
        with pytest.raises(UsageError, match="no pictures"):
            contact_sheet(rows)

    def test_other_labels(self) -> None:
        with pytest.raises(UsageError, match="share their labels"):
            contact_sheet([[("a", mask())], [("b", mask())]])

    @pytest.mark.parametrize(
        "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
    )
    def test_what_is_no_picture(self, picture: Image) -> None:
        with pytest.raises(UsageError, match="H×W×3 uint8"):
            contact_sheet([[("a", picture)]])


class TestSavePng:
    def test_saves_what_was_drawn_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "sheet.png"
        image = side_by_side([("truth", mask())])
        save_png(path, image)
        save_png(path, image)
        with Pillow.open(path) as saved:
            assert saved.format == "PNG"
            assert np.array_equal(np.asarray(saved), np.asarray(image))
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "sheet.png"
        path.write_bytes(b"old")

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Pillow.Image, "save", full)
        with pytest.raises(ResourceError, match=r"sheet\.png could not be written: No space left"):
            save_png(path, Pillow.new("RGB", (4, 4)))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match="No such file"):
            save_png(tmp_path / "absent" / "sheet.png", Pillow.new("RGB", (4, 4)))
