"""The words of `deploy push` and `deploy pull`; what they do is tried with a real registry."""

from __future__ import annotations

import pytest
from kit.builds import deploy


class TestWords:
    @pytest.mark.parametrize("words", [("push", "bundle", "small:1"), ("pull", "small", "-o", "out")])
    def test_what_is_no_reference_is_a_usage_error(self, tmp_path, words) -> None:
        done = deploy(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "HOST" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_a_push_names_no_digest(self, tmp_path) -> None:
        done = deploy("push", "bundle", f"localhost/small@sha256:{'0' * 64}", cwd=tmp_path)
        assert (done.returncode, "names a digest" in done.stderr) == (2, True)

    def test_a_target_that_holds_something_else_is_left_alone(self, tmp_path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine", encoding="utf-8")
        done = deploy("pull", "localhost/small:1", "-o", "out", cwd=tmp_path)
        assert (done.returncode, "no bundle" in done.stderr) == (2, True)
        assert (tmp_path / "out" / "mine").read_text("utf-8") == "mine"
