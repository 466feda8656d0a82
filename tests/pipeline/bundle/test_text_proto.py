"""The text format of protocol buffers, read back by protobuf itself."""

from __future__ import annotations

from google.protobuf import struct_pb2, text_format
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.pipeline.bundle.text_proto import Symbol, to_text


def test_messages_are_indented_and_fields_repeat() -> None:
    inner = (("dims", 3), ("dims", -1), ("kind", Symbol("TYPE_FP32")))
    found = to_text([("name", "toy"), ("on", True), ("share", 0.5), ("input", inner), ("latest", ())])
    assert found == (
        'name: "toy"\non: true\nshare: 0.5\ninput {\n  dims: 3\n  dims: -1\n  kind: TYPE_FP32\n}\nlatest {}\n'
    )


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_comes_back(text) -> None:
    assert text_format.Parse(to_text([("string_value", text)]), struct_pb2.Value()).string_value == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_so_does_any_number(number) -> None:
    assert text_format.Parse(to_text([("number_value", number)]), struct_pb2.Value()).number_value == number
