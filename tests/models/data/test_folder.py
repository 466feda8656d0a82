import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from kit.datasets import CLASSES, TOML, shared_data, write_folder
from PIL import Image as Pillow

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.data.folder import FolderDataset, voc_palette


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "toy data")


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_what_the_files_hold(root: Path) -> None:
    dataset = FolderDataset(root)
    assert (dataset.name, dataset.classes, dataset.ignore_index) == ("toy", CLASSES, 255)
    assert dataset.splits == ("train", "val")
    split = dataset.split("train")
    assert len(split) == 3
    for sample in (split[i] for i in range(3)):
        file = next((root / "images/train").glob(f"{sample.name}.*"))
        assert np.array_equal(sample.image, np.asarray(Pillow.open(file)))
        assert np.array_equal(sample.target, np.asarray(Pillow.open(root / "masks/train" / f"{sample.name}.png")))


def test_takes_suffixes_in_capitals_and_passes_over_other_files(root: Path) -> None:
    (root / "images/val/scene 1.png").rename(root / "images/val/scene 1.PNG")
    (root / "images/val/._scene 0.jpg").write_bytes(b"macOS")
    (root / "images/val/Thumbs.db").touch()
    (root / "images/.cache").mkdir()
    dataset = FolderDataset(root)
    assert dataset.splits == ("train", "val")
    assert [sample.name for sample in dataset.split("val")] == ["scene 0", "scene 1"]


class TestStructure:
    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        assert "is not a folder" in complaint(lambda: FolderDataset(tmp_path / "nowhere"))
        assert "is not a folder" in complaint(lambda: FolderDataset(tmp_path / ("x" * 300)))
        write_folder(tmp_path / "file")
        assert "is not a folder" in complaint(lambda: FolderDataset(tmp_path / "file/dataset.toml"))

    def test_a_folder_without_splits(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.toml").write_text(TOML)
        assert "has no splits" in complaint(lambda: FolderDataset(tmp_path))
        (tmp_path / "images").mkdir()
        assert "images/train" in complaint(lambda: FolderDataset(tmp_path))

    def test_an_unknown_split_lists_those_that_exist(self, root: Path) -> None:
        dataset = FolderDataset(root)
        for act in (dataset.split, dataset.digest):
            with pytest.raises(UsageError, match=r"did you mean 'train'\? Known: train, val\."):
                act("trian")

    def test_a_split_without_images(self, root: Path) -> None:
        (root / "images/test").mkdir()
        assert "has no images" in complaint(lambda: FolderDataset(root).split("test"))

    def test_images_without_a_mask_are_named(self, root: Path) -> None:
        (root / "masks/train/scene 1.png").unlink()
        found = complaint(lambda: FolderDataset(root).split("train"))
        assert "1 of 3 images without a mask (scene 1.png)" in found

    def test_the_first_few_are_named(self, tmp_path: Path) -> None:
        root = write_folder(tmp_path / "many", train=6)
        for mask in (root / "masks/train").iterdir():
            mask.unlink()
        (root / "masks/train").rmdir()
        found = complaint(lambda: FolderDataset(root).split("train"))
        assert "6 of 6 images without a mask (scene 0.jpg, scene 1.png, scene 2.jpg and 3 more)" in found

    def test_masks_without_an_image_are_named(self, root: Path) -> None:
        (root / "images/val/scene 0.jpg").unlink()
        found = complaint(lambda: FolderDataset(root).split("val"))
        assert "1 of 2 masks without an image (scene 0.png)" in found

    def test_a_folder_that_may_not_be_listed_is_named(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As its permissions would have it, which bind no superuser."""
        dataset, listed, denied = FolderDataset(root), Path.iterdir, root / "masks/train"

        def iterdir(folder: Path) -> Iterator[Path]:
            if folder == denied:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            return listed(folder)

        monkeypatch.setattr(Path, "iterdir", iterdir)
        for act in (dataset.split, dataset.digest):
            found = complaint(lambda act=act: act("train"))
            assert "masks/train' cannot be listed (Permission denied): make it readable" in found
        denied = root / "images"
        assert "images' cannot be listed (Permission denied)" in complaint(lambda: FolderDataset(root))

    def test_two_images_of_one_stem(self, root: Path) -> None:
        Pillow.new("RGB", (16, 12)).save(root / "images/val/scene 0.png")
        found = complaint(lambda: FolderDataset(root).split("val"))
        assert "'scene 0.jpg' and 'scene 0.png'" in found


class TestSamples:
    def test_a_mask_of_another_size(self, root: Path) -> None:
        Pillow.new("L", (8, 9)).save(root / "masks/val/scene 0.png")
        split = FolderDataset(root).split("val")
        found = complaint(lambda: split[0])
        assert "scene 0.png' is 8×9 pixels, expected 16×12 like its image 'scene 0.jpg'" in found
        assert split[1].name == "scene 1", "the others can still be read"

    def test_a_value_that_is_no_class(self, root: Path) -> None:
        mask = np.zeros((12, 16), dtype=np.uint8)
        mask[3, 4:6] = 3
        Pillow.fromarray(mask).save(root / "masks/val/scene 0.png")
        found = complaint(lambda: FolderDataset(root).split("val")[0])
        assert "scene 0.png' has the value 3 in 2 pixels, expected 0 to 2 or 255 (ignore)" in found

    def test_a_mask_that_is_all_ignore(self, root: Path) -> None:
        Pillow.new("L", (16, 12), 255).save(root / "masks/val/scene 0.png")
        target = FolderDataset(root).split("val")[0].target
        assert target is not None
        assert (target == 255).all()

    def test_a_damaged_image_is_named(self, root: Path) -> None:
        (root / "images/val/scene 0.jpg").write_bytes(b"")
        assert "scene 0.jpg' is empty" in complaint(lambda: FolderDataset(root).split("val")[0])

    def test_a_fifo_among_the_images_is_not_waited_for(self, root: Path) -> None:
        (root / "images/val/scene 0.jpg").unlink()
        os.mkfifo(root / "images/val/scene 0.jpg")
        dataset = FolderDataset(root)
        for act in (lambda: dataset.split("val")[0], lambda: dataset.digest("val")):
            assert "scene 0.jpg'" in complaint(act)

    def test_a_file_that_went_away(self, root: Path) -> None:
        split = FolderDataset(root).split("val")
        (root / "masks/val/scene 0.png").unlink()
        assert "No such file" in complaint(lambda: split[0])


class TestSettings:
    @pytest.mark.parametrize(
        ("toml", "said"),
        [
            (TOML.replace("classes", "clases"), "unknown key 'clases': did you mean 'classes'?"),
            (TOML + "zzz = 1\n", "unknown key 'zzz': Known: name, task, classes, ignore_index, palette, licence."),
            ('classes = ["a"]', "no key 'name'"),
            (TOML.replace("255", '"255"'), "ignore_index = '255'"),
            (TOML.replace("255", "true"), "ignore_index = True"),
            (TOML.replace("255", "256"), "ignore_index = 256"),
            (TOML.replace("255", "1"), "ignore_index 1 is the class 'road'; choose one of 3 to 255"),
            (TOML.replace('"tree"', '"sky"'), "the class 'sky' is there twice"),
            ('name = "a"\nclasses = []', "classes = []"),
            ('name = "a"\nclasses = "sky"', "classes = 'sky'"),
            (TOML.replace("segmentation", "detection"), "task = 'detection'"),
            (TOML + "palette = [[0, 0, 0]]", "the palette has 1 colours for 3 classes"),
            (TOML + "palette = [[0, 0, 256], [0, 0, 0], [0, 0, 0]]", "palette.0.2 = 256"),
            ("name = ", "is not TOML"),
            ("name = " + "[" * 10_000, "is nested too deep"),
            (TOML.replace("255", "9" * 6000), "has a number of thousands of digits"),
            (TOML.replace("255", f"0x{'f' * 9000}"), "ignore_index = a value that is too long"),
        ],
    )
    def test_a_mistake_is_named_with_its_key(self, root: Path, toml: str, said: str) -> None:
        (root / "dataset.toml").write_text(toml)
        found = complaint(lambda: FolderDataset(root))
        assert said in found
        assert str(root / "dataset.toml") in found

    def test_not_utf_8(self, root: Path) -> None:
        (root / "dataset.toml").write_bytes(TOML.replace("sky", "ciel é").encode("latin-1"))
        assert "is not UTF-8" in complaint(lambda: FolderDataset(root))

    def test_a_byte_order_mark_does_not_matter(self, root: Path) -> None:
        (root / "dataset.toml").write_bytes(TOML.encode("utf-8-sig"))
        assert FolderDataset(root).name == "toy"

    def test_missing(self, root: Path) -> None:
        (root / "dataset.toml").unlink()
        found = complaint(lambda: FolderDataset(root))
        assert f"there is no file {root / 'dataset.toml'}, expected a TOML file with name and classes" in found

    def test_the_palette_is_the_files_or_that_of_pascal_voc(self, root: Path) -> None:
        assert FolderDataset(root).palette == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
        (root / "dataset.toml").write_text(TOML + "palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]")
        assert FolderDataset(root).palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
        assert len(set(voc_palette(255))) == 255


class TestDigest:
    def test_is_the_same_wherever_the_folder_lies(self, root: Path, tmp_path: Path) -> None:
        digest = FolderDataset(root).digest("train")
        moved = root.rename(tmp_path / "elsewhere")
        assert FolderDataset(moved).digest("train") == digest
        assert FolderDataset(moved).digest("val") != digest

    @pytest.mark.parametrize("file", ["images/train/scene 0.jpg", "masks/train/scene 2.png", "dataset.toml"])
    def test_changes_with_every_file_of_the_split(self, root: Path, file: str) -> None:
        before = FolderDataset(root).digest("train")
        with (root / file).open("ab") as end:
            end.write(b"\n")
        assert FolderDataset(root).digest("train") != before

    def test_changes_with_a_name_and_with_a_new_sample(self, root: Path) -> None:
        dataset = FolderDataset(root)
        seen = {dataset.digest("val")}
        (root / "images/val/scene 1.png").rename(root / "images/val/other.png")
        (root / "masks/val/scene 1.png").rename(root / "masks/val/other.png")
        seen.add(dataset.digest("val"))
        for kind in ("images", "masks"):
            (root / kind / "val/new.png").write_bytes((root / kind / "val/other.png").read_bytes())
        seen.add(dataset.digest("val"))
        assert len(seen) == 3

    def test_notices_a_file_that_changes_after_it_was_digested(self, root: Path) -> None:
        dataset = FolderDataset(root)
        before = dataset.digest("val")
        assert dataset.digest("val") == before
        mask = root / "masks/val/scene 0.png"
        content = bytearray(mask.read_bytes())
        content[-1] ^= 1
        mask.write_bytes(content)
        os.utime(mask, ns=(1, 1))
        assert dataset.digest("val") != before

    def test_leaves_no_files_behind(self, root: Path) -> None:
        before = sorted(root.rglob("*"))
        FolderDataset(root).digest("train")
        assert sorted(root.rglob("*")) == before


def test_imports_no_torch() -> None:
    code = "import sys, visiondeploy.models.data.table; print([m for m in sys.modules if m.startswith('torch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_camvid() -> None:
    dataset = FolderDataset(shared_data("camvid"))
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (367, 101)
    assert dataset.classes[0] == "sky"
    assert dataset.ignore_index == len(dataset.classes) == 11
    for split in dataset.splits:
        sample = dataset.split(split)[-1]
        assert sample.image.shape == (360, 480, 3)
        assert sample.target is not None
        assert sample.target.shape == (360, 480)
    assert len(dataset.digest("val")) == 64
