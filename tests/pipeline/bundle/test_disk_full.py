"""A disk that fills: exit code 6, one sentence, and nothing at a final path."""

from __future__ import annotations

import pytest
from kit.builds import deploy
from kit.disks import small_disk


@pytest.mark.parametrize("name", ["toy", "toy.tar.zst"])
def test_a_bundle_that_does_not_fit_leaves_nothing(name, floats, house, tmp_path) -> None:
    with small_disk(tmp_path / "disk", "60k") as disk:
        done = house.deploy("bundle", floats, "-o", disk / name)
        assert (done.returncode, list(disk.iterdir())) == (6, [])
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_verifying_needs_room_for_a_copy(of_openvino, tmp_path) -> None:
    with small_disk(tmp_path / "disk", "60k") as disk:
        done = deploy("verify", of_openvino, "--no-run", cwd=tmp_path, TMPDIR=str(disk))
        assert (done.returncode, list(disk.iterdir())) == (6, [])
    assert "the disk is full" in done.stdout
