from __future__ import annotations

import pytest
from pydantic import ValidationError

from visiondeploy.calibration.settings import CalibrationSettings


@pytest.mark.parametrize("given", [{"images": 0}, {"seed": -1}, {"seed": 2**31}, {"weight_bits": 4}, {"image": 3}])
def test_what_makes_no_sense_is_refused(given) -> None:
    with pytest.raises(ValidationError):
        CalibrationSettings(**given)
