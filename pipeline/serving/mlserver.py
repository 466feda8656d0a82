"""A bundle in MLServer: `"implementation": "visiondeploy.pipeline.serving.mlserver.BundleRuntime"`.

`parameters.uri` of `model-settings.json` leads to the bundle's folder, from that of the settings; `parameters.extra`
may have `key`, a public key whose signature the bundle has to bear, and `threads`. As all of a bundle's digests are
checked before it is loaded, a damaged one is never ready.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.runtime import Model, load


class BundleRuntime(MLModel):  # type: ignore[misc]  # its types are not here
    """One bundle, loaded."""

    _model: Model

    async def load(self) -> bool:
        """Check and load the bundle."""
        parameters = self.settings.parameters
        extra: dict[str, Any] = (parameters.extra if parameters is not None else None) or {}
        uri = await get_model_uri(self.settings)
        self._model = await asyncio.to_thread(load, uri, key=extra.get("key"), threads=extra.get("threads"))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The outputs of one request. What does not fit the contract is the client's error."""
        feeds = {given.name: NumpyCodec.decode_input(given) for given in payload.inputs}
        try:
            outputs = await asyncio.to_thread(self._model.infer, feeds)
        except UsageError as error:
            raise InferenceError(str(error)) from error
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, array) for name, array in outputs.items()],
        )

    async def unload(self) -> bool:
        """Free the runtime's memory."""
        self._model.close()
        return True
