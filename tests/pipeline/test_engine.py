"""The recipe's section [engine]."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.builds import toy
from pydantic import ValidationError

from visiondeploy.errors import EnvironmentMismatch, UsageError
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.pipeline.recipe import parse_recipe

ranges = st.tuples(*[st.integers(1, 9)] * 3)


@given(ranges)
def test_a_range_rises(found) -> None:
    if list(found) == sorted(found):
        assert EngineSettings(batch=found).batch == found
    else:
        with pytest.raises(ValidationError, match="min ≤ opt ≤ max"):
            EngineSettings(batch=found)


def test_a_recipe_with_it_reads_back_as_it_was() -> None:
    recipe = toy("engine.targets=['sm_86']", "engine.batch=[1, 4, 8]", "engine.workspace_mib=512")
    assert parse_recipe(recipe.to_toml(), "again") == recipe
    assert recipe.engine.changed() == ("targets", "batch", "workspace_mib")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("engine.batch=[4, 2, 8]", r"a range is \[min, opt, max\] with min ≤ opt ≤ max"),
        ("engine.batch=[0, 1, 1]", r"engine\.batch\[0\] is 0, expected a whole number from 1 to"),
        ("engine.batch=8", "expected a list of 3 values"),
        ("engine.height=[1, 2]", r"engine\.height is \[1, 2\], expected a list of 3 values"),
        ("engine.builder_level=6", "expected a whole number from 0 to 5"),
        ("engine.workspace_mib=0", "expected a whole number from 1 to 1048576"),
        ("engine.target=sm_86", r"did you mean 'engine\.targets'"),
    ],
)
def test_wrong_values_are_said(key, said) -> None:
    with pytest.raises(UsageError, match=said):
        toy(key)


class TestWhatABackendHeeds:
    @pytest.mark.parametrize("name", BACKENDS)
    def test_nothing_set_is_heeded_by_all(self, name) -> None:
        found = BACKENDS[name].heed(toy())
        assert bool(found) == name.startswith("tensorrt")

    @pytest.mark.parametrize("name", [name for name in BACKENDS if not name.startswith("tensorrt")])
    @pytest.mark.parametrize("key", ["targets=['sm_86']", "batch=[1, 2, 3]", "tf32=true"])
    def test_a_cpu_has_no_use_for_any(self, name, key) -> None:
        with pytest.raises(UsageError, match=rf"engine\.\w+ is for engines .* backend {name} runs on the CPU"):
            BACKENDS[name].heed(toy(f"engine.{key}"))

    @pytest.mark.parametrize(
        ("name", "key", "other"),
        [
            ("tensorrt-rtx", "builder_level=5", "tensorrt"),
            ("tensorrt-rtx", "timing_cache=cache.bin", "tensorrt"),
            ("tensorrt", "targets=['sm_86']", "tensorrt-rtx"),
        ],
    )
    def test_what_has_no_effect_is_refused(self, name, key, other) -> None:
        with pytest.raises(UsageError, match=rf"has no effect in TensorRT.*choose --backend {other}\."):
            BACKENDS[name].heed(toy(f"engine.{key}"))

    def test_the_same_targets_in_other_words_have_one_key(self) -> None:
        rtx = BACKENDS["tensorrt-rtx"]
        one, other = rtx.heed(toy("engine.targets=['8.9', 'SM86']")), rtx.heed(toy("engine.targets=['sm_86', 'sm_89']"))
        assert one == other
        assert one["targets"] == ["sm_86", "sm_89"]

    def test_what_changes_no_byte_is_in_no_key(self) -> None:
        assert BACKENDS["tensorrt"].heed(toy("engine.allow_fallback=true", "engine.timing_cache=x")) == BACKENDS[
            "tensorrt"
        ].heed(toy())

    @pytest.mark.parametrize("axis", ["height", "width"])
    def test_a_size_needs_a_graph_whose_size_is_free_and_the_other_way_round(self, axis) -> None:
        rtx = BACKENDS["tensorrt-rtx"]
        with pytest.raises(UsageError, match=rf"engine\.{axis} is for a graph whose size is free"):
            rtx.heed(toy(f"engine.{axis}=[32, 32, 64]"))
        given = {"height", "width"} - {axis}
        with pytest.raises(UsageError, match=rf"the {axis} of the graph is free: set engine\.{axis} ="):
            rtx.heed(toy("export.dynamic_size=true", *(f"engine.{one}=[32, 32, 64]" for one in given)))

    def test_turing_takes_int8_from_the_others_of_an_engine(self) -> None:
        rtx, targets = BACKENDS["tensorrt-rtx"], "engine.targets=['sm_75', 'sm_86']"
        with pytest.raises(UsageError, match=r"in one engine with it on sm_86 neither: build without sm_75"):
            rtx.heed(toy("precision=int8", targets))
        # By itself it may be tried, and what comes out is looked at.
        rtx.heed(toy("precision=int8", "engine.targets=['sm_75']"))
        rtx.heed(toy("precision=fp16", targets))
        rtx.heed(toy("precision=int8", targets, "engine.allow_fallback=true"))

    def test_targets_are_checked(self) -> None:
        with pytest.raises(EnvironmentMismatch, match="sm_90"):
            BACKENDS["tensorrt-rtx"].heed(toy("engine.targets=['sm_90']"))


def test_plain_is_the_default() -> None:
    assert toy().engine == PLAIN
    assert PLAIN.changed() == ()


def test_a_profile_without_single_images_is_refused() -> None:
    """Parity and the bench feed one at a time: it would be found out after the training."""
    with pytest.raises(UsageError, match=r"^engine\.batch = \[4, 4, 8\] leaves out single images"):
        BACKENDS["tensorrt-rtx"].heed(toy("engine.batch=[4, 4, 8]"))
