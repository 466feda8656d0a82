"""Channels that nobody reads can be taken out, and the network stays the same function."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.compressible import (
    CASES,
    SIZE,
    VARIANTS,
    blind,
    channels_of,
    conv,
    image,
    made,
    small,
    some_of,
    with_statistics,
)
from torch import Tensor, nn

from visiondeploy.models.compression.changes import Pruned
from visiondeploy.models.compression.dependencies import Coupling, Dependencies
from visiondeploy.models.compression.replay import prune
from visiondeploy.models.table import NETWORKS, create


def test_every_network_is_tested() -> None:
    assert {name for name, _ in VARIANTS.values()} == set(NETWORKS)


def check_unread(module: nn.Module, removed: Mapping[str, Sequence[int]], values: Tensor) -> None:
    """The invariant, on a copy of the module."""
    small = copy.deepcopy(module)
    blind(small, removed)
    with torch.no_grad():
        expected = small(values)
        original = module(values)
        prune(small, Pruned(removed={root: tuple(channels) for root, channels in removed.items()}))
        found = small(values)
    scale = float(expected.abs().max())
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, scale))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())
    # Else nothing would have been shown.
    assert not torch.allclose(original, expected, rtol=0, atol=1e-4 * scale)


class TestEveryNetwork:
    @pytest.mark.parametrize(("variant", "between"), CASES)
    def test_channels_that_nobody_reads_are_not_missed(self, variant: str, between: str | None) -> None:
        module = made(variant, between)
        check_unread(module, some_of(Dependencies(module).couplings()), image())

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_each_channel_of_a_layer_is_in_one_coupling_and_outputs_in_none(self, variant: str) -> None:
        module = made(variant)
        couplings = Dependencies(module).couplings()
        assert couplings
        makers = [
            name for coupling in couplings for name, count in coupling.makes.items() if count == len(coupling.units[0])
        ]
        roots = [coupling.root for coupling in couplings]
        assert len(set(roots)) == len(roots)
        assert all(makers.count(root) == 1 for root in roots)
        last = [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)][-1]
        assert last not in makers
        for coupling in couplings:
            assert sorted(c for unit in coupling.units for c in unit) == list(range(_outputs(module, coupling.root)))

    def test_a_network_can_be_pruned_twice(self) -> None:
        module = made("unet")
        prune(module, Pruned(removed=some_of(Dependencies(module).couplings(), 0.25)))
        check_unread(module, some_of(Dependencies(module).couplings(), 0.5, seed=3), image())

    def test_gradients_that_were_switched_off_do_not_hide_channels(self) -> None:
        module = made("unet").requires_grad_(False)
        assert len(Dependencies(module).couplings()) == 12


def _outputs(module: nn.Module, name: str) -> int:
    return int(module.get_submodule(name).out_channels)


TINY = with_statistics(create("unet", {"base_width": 4, "depth": 1}, 3))
COUPLINGS = Dependencies(TINY).couplings()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_channels_of_a_unet_can_go_as_long_as_one_is_left(data: st.DataObject) -> None:
    removed = {}
    for coupling in COUPLINGS:
        total = len(coupling.units)
        gone = data.draw(st.sets(st.integers(0, total - 1), max_size=total - 1), label=coupling.root)
        if gone:
            removed[coupling.root] = channels_of(coupling, sorted(gone))
    if removed:
        check_unread(TINY, removed, image((16, 16)))


def roots(module: nn.Module) -> dict[str, Coupling]:
    return {coupling.root: coupling for coupling in Dependencies(module).couplings()}


class TestConcat:
    def test_of_a_tensor_with_itself_is_read_twice(self) -> None:
        module = small(lambda m, x: m.b(torch.cat([y := m.a(x).relu(), y], 1)), a=conv(3, 8), b=conv(16, 2))
        found = roots(module)
        assert set(found) == {"a"}
        assert found["a"].reads == {"b": 2}
        check_unread(module, {"a": (0, 3, 7)}, image())

    def test_of_two_before_a_depthwise_layer_leaves_two_couplings(self) -> None:
        module = small(
            lambda m, x: m.d(m.norm(m.c(torch.cat([m.a(x), m.b(x)], 1))).relu()),
            a=conv(3, 6),
            b=conv(3, 10),
            c=conv(16, 16, groups=16),
            norm=nn.BatchNorm2d(16),
            d=conv(16, 2, 1),
        )
        found = roots(module)
        assert {root: len(coupling.units) for root, coupling in found.items()} == {"a": 6, "b": 10}
        for removed in ({"a": (1, 2)}, {"b": (0, 9)}, {"a": (0, 5), "b": (3,)}):
            check_unread(module, removed, image())

    def test_of_three_in_another_order_than_they_are_made(self) -> None:
        module = small(
            lambda m, x: m.d(torch.cat([m.c(x), m.a(x), m.b(m.a(x))], 1).relu()),
            a=conv(3, 4),
            b=conv(4, 5),
            c=conv(3, 6),
            d=conv(15, 2),
        )
        assert roots(module)["a"].reads == {"b": 1, "d": 1}
        check_unread(module, {"a": (0, 2), "b": (1,), "c": (4, 5)}, image())


class TestResidual:
    def test_adds_couple_all_that_is_added(self) -> None:
        module = small(
            lambda m, x: m.d((y := m.a(x)) + m.norm(m.c(m.b(y).relu()))),
            a=conv(3, 8),
            b=conv(8, 5),
            c=conv(5, 8),
            norm=nn.BatchNorm2d(8),
            d=conv(8, 2),
        )
        found = roots(module)
        assert len(found) == 2
        shared = next(coupling for coupling in found.values() if "c" in coupling.makes)
        assert (shared.makes, shared.reads) == ({"a": 1, "c": 1}, {"b": 1, "d": 1})
        assert shared.norms == {"norm": 1}
        check_unread(module, {shared.root: (0, 4, 5)}, image())

    def test_a_layer_that_is_added_to_the_output_stays(self) -> None:
        module = small(lambda m, x: m.a(x) + m.c(m.b(x)), a=conv(3, 4), b=conv(3, 6), c=conv(6, 4))
        assert set(roots(module)) == {"b"}


class TestGroups:
    def test_behind_a_grouped_layer_a_unit_has_a_channel_of_each_group(self) -> None:
        module = small(
            lambda m, x: m.c(m.b(m.a(x).relu()).relu()), a=conv(3, 8), b=conv(8, 12, groups=4), c=conv(12, 2)
        )
        found = roots(module)
        assert found["b"].units == ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
        assert found["a"].units == ((0, 2, 4, 6), (1, 3, 5, 7))
        check_unread(module, {"b": channels_of(found["b"], [1])}, image())
        check_unread(module, {"a": channels_of(found["a"], [0])}, image())
        prune(module, Pruned(removed={"a": (1, 3, 5, 7), "b": (0, 3, 6, 9)}))
        layer = module.b
        assert (layer.in_channels, layer.out_channels, layer.groups) == (4, 8, 4)
        assert layer.weight.shape == (8, 1, 3, 3)
        assert module(image()).shape == (2, 2, *SIZE)

    def test_group_norm_keeps_its_groups_equal(self) -> None:
        module = small(lambda m, x: m.b(m.norm(m.a(x)).relu()), a=conv(3, 8), norm=nn.GroupNorm(2, 8), b=conv(8, 2))
        found = roots(module)["a"]
        assert found.units == ((0, 4), (1, 5), (2, 6), (3, 7))
        assert found.norms == {"norm": 2}
        module.norm.weight.data.copy_(torch.arange(8.0))
        prune(module, Pruned(removed={"a": (1, 5)}))
        assert (module.norm.num_groups, module.norm.num_channels) == (2, 6)
        assert torch.equal(module.norm.weight, torch.tensor([0.0, 2, 3, 4, 6, 7]))
        assert module(image()).shape == (2, 2, *SIZE)

    def test_group_norm_over_a_concat_of_uneven_parts_keeps_them(self) -> None:
        module = small(
            lambda m, x: m.c(m.norm(torch.cat([m.a(x), m.b(x)], 1))),
            a=conv(3, 6),
            b=conv(3, 10),
            norm=nn.GroupNorm(2, 16),
            c=conv(16, 2),
        )
        assert set(roots(module)) == set()

    def test_channels_that_lie_across_groups_of_a_concat_stay(self) -> None:
        module = small(
            lambda m, x: m.d(m.c(torch.cat([m.a(x), m.b(x)], 1)).relu()),
            a=conv(3, 6),
            b=conv(3, 10),
            c=conv(16, 4, groups=2),
            d=conv(4, 2),
        )
        assert set(roots(module)) == {"c"}


class TestOtherLayers:
    def test_linear_layers_behind_a_pooled_image(self) -> None:
        module = small(
            lambda m, x: m.c(m.b(m.a(x).relu().mean((2, 3))).relu()),
            a=conv(3, 8),
            b=nn.Linear(8, 6),
            c=nn.Linear(6, 2),
        )
        check_unread(module, {"a": (0, 7), "b": (1, 2)}, image())

    def test_a_linear_layer_reads_each_pixel_of_a_flattened_image(self) -> None:
        module = small(
            lambda m, x: m.b(nn.functional.adaptive_avg_pool2d(m.a(x).relu(), 2).flatten(1)),
            a=conv(3, 6),
            b=nn.Linear(24, 2),
        )
        assert roots(module)["a"].reads == {"b": 4}
        check_unread(module, {"a": (0, 4)}, image())

    def test_transposed_layers(self) -> None:
        module = small(
            lambda m, x: m.c(m.b(m.a(x).relu()).relu()),
            a=conv(3, 6),
            b=nn.ConvTranspose2d(6, 5, 2, 2),
            c=conv(5, 2),
        )
        check_unread(module, {"a": (0, 4), "b": (2,)}, image())


class TestRefused:
    @pytest.mark.parametrize(
        ("root", "channels"), [("a", ()), ("a", (8,)), ("a", (-1,)), ("a", tuple(range(8))), ("norm", (0,))]
    )
    def test_what_is_not_there_or_would_leave_nothing(self, root: str, channels: tuple[int, ...]) -> None:
        module = small(lambda m, x: m.b(m.norm(m.a(x))), a=conv(3, 8), norm=nn.BatchNorm2d(8), b=conv(8, 2))
        with pytest.raises(ValueError, match=f"'{root}' has not all of the {len(channels)} channels"):
            Dependencies(module).remove(root, channels)
