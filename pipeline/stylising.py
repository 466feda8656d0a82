"""`deploy predict --method gatys`: photographs in the style of a painting, by optimisation, each in minutes.

A picture is a step of the store, as a stage of a build is: made once, and gone on with after an interruption.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiondeploy.errors import InputError
from visiondeploy.models.data.images import read_image
from visiondeploy.models.features import features_digest
from visiondeploy.models.gatys_scales import check_memory, check_painting, scales_of, size_of
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.picture_files import Errand, Existing, errands
from visiondeploy.pipeline.stages import stylise as stage
from visiondeploy.pipeline.store import Step, Store, tool_versions
from visiondeploy.types import Image

# 1: painting, features, weights, settings, pictures: input, output, height, width, seconds, cached, scales
SCHEMA = "visiondeploy.stylised/1"

PREVIEW = ".preview.jpg"
"""What the name of a picture ends with as long as it is not done."""


@dataclass(frozen=True, slots=True)
class Stylised:
    """One picture; `scales` has its distances to content and style at the end of each scale.

    `seconds` are those of this call, which may have gone on with what another began.
    """

    input: str
    output: str
    height: int
    width: int
    seconds: float
    cached: bool
    scales: Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Stylisings:
    """What was made, and how: `features` names the network that saw, `weights` is the digest of its weights."""

    painting: str
    features: str
    weights: str
    settings: GatysSettings
    pictures: tuple[Stylised, ...]

    def to_json(self) -> str:
        """The same as JSON text, with a final newline. In ASCII: names of files may hold bytes that are no UTF-8."""
        found = {
            "schema": SCHEMA,
            "painting": self.painting,
            "features": self.features,
            "weights": self.weights,
            "settings": self.settings.model_dump(mode="json"),
            "pictures": [asdict(picture) for picture in self.pictures],
        }
        return json.dumps(found, indent=1, allow_nan=False) + "\n"


def stylise(
    painting: Path,
    source: str,
    target: str,
    settings: GatysSettings,
    *,
    threads: int,
    existing: Existing,
    store: Store,
    events: Events,
) -> Stylisings:
    """Bring the style of a painting to a photograph, to all in a folder, or to the one on stdin ("-").

    As long as a picture is not done it can be watched: in a file beside it that ends with ".preview.jpg". All that is
    given is read and checked before anything is computed.

    Raises as `features_digest` and `errands`, `InputError` where a picture cannot be read or is too small,
    `ResourceError` where one is to be too large for the memory, and as the stage.
    """
    weights = features_digest(settings.features)
    easel = _Easel(read_image(painting), weights, settings, threads, store, events)
    with _named(str(painting)):
        check_painting(size_of(easel.painting))
    found = errands(source, target, kind="picture", existing=existing)
    photo = None
    for errand in found:
        photo = errand.read()
        with _named(errand.name):
            check_memory(scales_of(size_of(photo), settings)[-1])
    # Stdin is read once, and a folder may hold more than the memory.
    alone = photo if len(found) == 1 else None
    pictures = tuple(easel.paint(errand, errand.read() if alone is None else alone) for errand in found)
    return Stylisings(str(painting), settings.features, weights, settings, pictures)


@dataclass(frozen=True, slots=True)
class _Easel:
    """All that the pictures of one call share."""

    painting: Image
    weights: str
    settings: GatysSettings
    threads: int
    store: Store
    events: Events

    def paint(self, errand: Errand, photo: Image) -> Stylised:
        """Make one picture, or take it from the store, and write it where it belongs."""
        inputs = {"photo": _digest(photo), "painting": _digest(self.painting), "features": self.weights}
        step = Step("stylise", stage.VERSION, inputs, self.settings, tool_versions(*stage.TOOLS))
        watched = errand.target.with_suffix(PREVIEW) if errand.target else None

        def preview(picture: Image) -> None:
            if watched is not None:
                Errand(errand.source, watched).write(picture)

        def make(folder: Path) -> Mapping[str, Any]:
            if watched is not None:
                self.events.tell(f"to watch: {watched}")
            work, report = self.store.work(step.key), self.events.progress
            return stage.stylise(photo, self.painting, self.settings, self.threads, work, folder, report, preview)

        self.events.start("stylise")
        ran = self.store.run(step, "picture", make)
        picture = read_image(ran.artifact.folder / stage.PICTURE)
        errand.write(picture)
        if watched is not None:
            with suppress(OSError):
                watched.unlink(missing_ok=True)
        scales = ran.artifact.meta["scales"]
        found = f"content {scales[-1]['content']:.3f} style {scales[-1]['style']:.4f}"
        self.events.end("stylise", ran.seconds, ran.cached, f"{errand.name}: {found}")
        output = str(errand.target) if errand.target else "stdout"
        return Stylised(errand.name, output, *size_of(picture), ran.seconds, ran.cached, scales)


def _digest(image: Image) -> str:
    """Sha256, in hex, of an image's size and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say which file it is that is not as it should be."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
