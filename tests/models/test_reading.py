"""Files that people give: whatever lies there, the answer comes at once and is the content or a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from visiondeploy.errors import InputError
from visiondeploy.models.reading import LARGEST, read_bytes, read_toml


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_toml(path, "a TOML file with wishes")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_link_to_a_file_is_followed(tmp_path) -> None:
    (tmp_path / "file").write_text("a = 1")
    (tmp_path / "link").symlink_to("file")
    assert read_toml(tmp_path / "link") == ({"a": 1}, b"a = 1")


def test_a_fifo_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "fifo' cannot be read: not a regular file, expected a TOML file with wishes" in complaint(tmp_path / "fifo")


def test_a_device_does_not_fill_the_memory() -> None:
    assert "not a regular file" in complaint(Path("/dev/zero"))


def test_a_file_is_read_up_to_its_limit(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"#" * LARGEST)
    assert len(read_bytes(tmp_path / "file")) == LARGEST
    with (tmp_path / "file").open("ab") as file:
        file.write(b"#")
    assert "is larger than 1 MB, expected a TOML file with wishes written by hand" in complaint(tmp_path / "file")


def test_what_is_no_file(tmp_path) -> None:
    assert f"there is no file {tmp_path / 'a'}" in complaint(tmp_path / "a")
    assert f"{tmp_path} is a folder" in complaint(tmp_path)
    assert "null byte" in complaint(tmp_path / "a\0b")


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, f"{'a.' * 10_000}a = 1", "a = " + "[" * 900 + "]" * 900])
def test_nesting_that_nothing_after_it_could_handle(tmp_path, text) -> None:
    (tmp_path / "file").write_text(text)
    assert "file is nested too deep" in complaint(tmp_path / "file")


def test_a_number_of_thousands_of_digits(tmp_path) -> None:
    (tmp_path / "file").write_text(f"a = {'9' * 6000}")
    assert "file has a number of thousands of digits" in complaint(tmp_path / "file")


@given(st.binary(max_size=30) | st.text("a.[]{}=\"'\\ \n1e9#,", max_size=30).map(str.encode))
@example(b"\xef\xbb\xbfa = 1")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_explained(tmp_path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    said = ""
    try:
        assert read_toml(tmp_path / "file")[1] == data
    except InputError as error:
        said = str(error)
    assert "\n" not in said
