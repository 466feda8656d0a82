"""Which observer and which repairs a network is quantised with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit.chains import Chain, images, run, sqnr

from visiondeploy.calibration.equalise import equalise, equalising_scales, tensors_to_equalise
from visiondeploy.calibration.observation import Observation
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import OBSERVERS
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.calibration.search import search
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.errors import UsageError

REPAIRS = ("equalisation", "adaround", "bias correction")


def chain(spread: float = 1.0) -> Chain:
    """Two convolutions whose channels are up to `spread` apart."""
    made = Chain(seed=3).conv("a", 8).then("Relu").conv("b", 8).then("Relu").conv("c", 4, kernel=1)
    made.scale("a", "b", np.geomspace(1 / spread, spread, 8))
    return made


def seen(model: onnx.ModelProto, equalised: bool) -> list[Observation]:
    """As the stage before observes: the graph as it is, and equalised where that changes it."""
    names = tuple(dict.fromkeys((*tensors_to_observe(model), *tensors_to_equalise(model))))
    found = [Observation(observe(model, names, images(6), threads=1))]
    scales = equalising_scales(model, found[0].statistics) if equalised else {}
    if scales:
        found.append(Observation(observe(equalise(model, scales), names, images(6), threads=1), scales))
    return found


def find(model: onnx.ModelProto, judge=None, scheme: str = "cpu", **settings):
    held = images(4, seed=9)
    expected = run(model, held)
    given = CalibrationSettings(**settings)
    return search(
        model,
        seen(model, given.equalise),
        images(6),
        judge or (lambda found: sqnr(expected, run(found, held))),
        SCHEMES[scheme],
        given,
        8,
        1,
        lambda done, total, note: None,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_comes_out_is_the_best_of_all_that_was_tried(scheme) -> None:
    model = chain().model()
    found, judged = find(model, scheme=scheme)
    assert {*OBSERVERS, "bias correction"} <= {*judged} <= {*OBSERVERS, *REPAIRS}
    held = images(4, seed=9)
    assert sqnr(run(model, held), run(found.result.model, held)) == pytest.approx(max(judged.values()))


def test_equalisation_is_kept_where_channels_are_far_apart() -> None:
    found, judged = find(chain(spread=32.0).model(), observer="min-max")
    assert found.repairs[0] == "equalisation"
    assert judged["equalisation"] > judged["min-max"] + 5


def test_what_does_not_help_is_left_off() -> None:
    falling = iter(range(0, -100, -1))
    found, judged = find(chain(spread=32.0).model(), judge=lambda model: float(next(falling)), adaround=True)
    assert (found.observer, found.repairs) == (next(iter(OBSERVERS)), ())
    assert list(judged) == [*OBSERVERS, *REPAIRS]


def test_what_helps_is_kept_and_later_repairs_build_on_it() -> None:
    rising = iter(range(100))
    found, _ = find(chain(spread=32.0).model(), judge=lambda model: float(next(rising)), adaround=True)
    assert (found.observer, found.repairs) == ([*OBSERVERS][-1], REPAIRS)


def test_nothing_is_tried_that_was_not_asked_for() -> None:
    found, judged = find(chain(spread=32.0).model(), observer="mse", equalise=False, bias_correction=False)
    assert (found.observer, found.repairs, list(judged)) == ("mse", (), ["mse"])


def test_an_observer_that_does_not_exist_is_said() -> None:
    with pytest.raises(UsageError, match="no observer 'entropie'"):
        find(chain().model(), observer="entropie")
