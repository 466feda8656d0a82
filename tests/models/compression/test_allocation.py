"""Allocations hold their budget, keep multiples, and take what saves most for what it loses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.compressible import made

from visiondeploy.models.compression.allocation import SMALLEST_SHARE, allocate, kept_counts, replacements, smallest
from visiondeploy.models.compression.dependencies import Coupling
from visiondeploy.models.compression.shapes import LayerShape
from visiondeploy.models.compression.structure import Macs, Parameters, Structure, structure_of

UNET = structure_of(made("unet"), (48, 64))


def scores(seed: int = 0, structure: Structure = UNET) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {coupling.root: random.uniform(0.1, 1, len(coupling.units)) for coupling in structure.couplings}


@dataclass(frozen=True)
class Table:
    """A made-up time of each layer."""

    of: object
    norm_channel: float = 0.0

    def layer(self, name: str, shape: LayerShape) -> float:
        return self.of(shape)


@given(
    share=st.floats(0.02, 1.0),
    multiple=st.sampled_from([1, 2, 4, 8]),
    scope=st.sampled_from(["global", "layerwise"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_it_holds_the_budget_or_there_is_none(share, multiple, scope, seed) -> None:
    whole = UNET.cost(Parameters(), {})
    found = allocate(UNET, scores(seed), Parameters(), share * whole, multiple, scope)
    if found is None:
        assert UNET.cost(Parameters(), smallest(UNET, multiple)) > share * whole
        return
    assert found.cost <= share * whole
    assert found.cost == UNET.cost(Parameters(), found.removed)
    for coupling in UNET.couplings:
        kept, total = len(coupling.units) - found.removed[coupling.root], len(coupling.units)
        assert kept == total or kept % multiple == 0
        assert kept >= max(1, SMALLEST_SHARE * total)


@pytest.mark.parametrize("cost", [Parameters(), Macs()])
def test_a_budget_of_all_takes_nothing(cost) -> None:
    found = allocate(UNET, scores(), cost, UNET.cost(cost, {}), 4, "global")
    assert found is not None
    assert not any(found.removed.values())
    assert not replacements(UNET, cost, UNET.cost(cost, {}))


def test_unimportant_channels_go_first() -> None:
    given_scores = {root: np.full(len(values), 100.0) for root, values in scores().items()}
    given_scores["bottom.0"] = np.full(len(given_scores["bottom.0"]), 1e-6)
    found = allocate(UNET, given_scores, Parameters(), 0.9 * UNET.cost(Parameters(), {}), 4, "global")
    assert found is not None
    assert [root for root, count in found.removed.items() if count] == ["bottom.0"]


def test_what_saves_nothing_on_the_target_is_not_taken() -> None:
    """Layers of 24 channels and less all take as long here."""

    def time(shape: LayerShape) -> float:
        return float(np.ceil(shape.out_channels / 24))

    whole = UNET.cost(Table(time), {})
    assert allocate(UNET, scores(), Table(time), 0.5 * whole, 4, "global") is None
    found = allocate(UNET, scores(), Table(time), whole - 2, 4, "global")
    assert found is not None
    assert {UNET.layers[root].out_channels for root, count in found.removed.items() if count} == {32}


def test_a_table_where_less_takes_longer_is_no_trap() -> None:
    def time(shape: LayerShape) -> float:
        return 9.0 if shape.out_channels % 8 else shape.out_channels / 8

    whole = UNET.cost(Table(time), {})
    found = allocate(UNET, scores(), Table(time), 0.75 * whole, 2, "global")
    assert found is not None
    assert found.cost <= 0.75 * whole
    assert all((len(c.units) - found.removed[c.root]) % 8 == 0 for c in UNET.couplings if c.root in UNET.layers)


def test_layers_become_separable_only_where_that_is_cheaper() -> None:
    def slow(shape: LayerShape) -> float:
        return 50.0 if shape.depthwise else float(shape.macs) / 1e5

    assert not replacements(UNET, Table(slow), 0)
    assert replacements(UNET, Macs(), 0) == set(UNET.replaceable)


def test_no_more_layers_become_separable_than_the_budget_takes() -> None:
    whole = UNET.cost(Macs(), {})
    found = replacements(UNET, Macs(), 0.8 * whole)
    assert 0 < len(found) < len(UNET.replaceable)
    assert UNET.cost(Macs(), {}, found) <= 0.8 * whole
    assert all(UNET.cost(Macs(), {}, found - {name}) > 0.8 * whole for name in found)


def test_a_layer_whose_kernel_is_separable_already_is_replaced_first() -> None:
    lost = {name: 0.001 if name == "bottom.3" else 0.7 for name in UNET.replaceable}
    found = replacements(replace(UNET, replaceable=lost), Macs(), 0.99 * UNET.cost(Macs(), {}))
    assert found == {"bottom.3"}


def test_layerwise_keeps_the_same_share() -> None:
    found = allocate(UNET, scores(), Parameters(), 0.3 * UNET.cost(Parameters(), {}), 1, "layerwise")
    assert found is not None
    kept = [1 - found.removed[c.root] / len(c.units) for c in UNET.couplings]
    assert max(kept) - min(kept) <= 1 / 8


@pytest.mark.parametrize(
    ("units", "multiple", "expected"),
    [(16, 4, (16, 12, 8, 4)), (10, 4, (10, 8, 4)), (4, 8, (4,)), (80, 16, (80, 64, 48, 32, 16)), (1, 1, (1,))],
)
def test_counts_that_may_be_kept(units, multiple, expected) -> None:
    coupling = Coupling("layer", tuple((unit,) for unit in range(units)))
    assert kept_counts(coupling, multiple) == expected


def test_units_of_several_channels_count_together() -> None:
    coupling = Coupling("layer", tuple((unit, unit + 8) for unit in range(8)))
    assert kept_counts(coupling, 4) == (8, 6, 4, 2)
