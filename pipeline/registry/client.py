"""Requests to an OCI registry (OCI Distribution 1.1), through the library `oras`: its logins, uploads and addresses.

What comes back is checked here: the library takes whatever bytes a registry sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from visiondeploy.errors import EnvironmentMismatch, InputError, IntegrityError
from visiondeploy.pipeline.backends.base import not_installed
from visiondeploy.pipeline.registry.artifact import LARGEST, MEDIA_TYPE, Descriptor, Reference, digest_of

_SECONDS = 60
_CHUNK = 1 << 20
_WHOLE = 64 << 20
"""Bytes of a blob that is sent in one request; a larger one goes in pieces."""

Answer = TypeVar("Answer")


class Client:
    """One repository of a registry. Over HTTPS, unless it is on this machine or `plain_http` says so."""

    def __init__(self, reference: Reference, plain_http: bool = False) -> None:
        if reason := not_installed("oras", extra="serve"):
            raise EnvironmentMismatch(f"registries need {reason}.")
        import oras.container
        import oras.provider

        self.reference = reference
        self._login = f"log in with `docker login {reference.host}`"
        self._scheme = "http" if plain_http or reference.loopback else "https"
        self._registry = oras.provider.Registry(reference.host, insecure=self._scheme == "http")
        # The library's own retries go on for two minutes where there is no registry.
        self._registry.do_request = partial(oras.provider.Registry.do_request.__wrapped__, self._registry)
        # Without a limit a registry that says nothing is waited for until somebody loses patience.
        self._registry.session.request = partial(self._registry.session.request, timeout=_SECONDS)
        self._container = oras.container.Container(str(reference))
        self._registry.auth.load_configs(self._container)

    def put_blob(self, path: Path, blob: Descriptor) -> None:
        """Send a file, unless it is there already."""
        layer = {"digest": blob.digest, "size": blob.size}
        answer = self._asked(
            lambda: self._registry.upload_blob(str(path), self._container, layer, do_chunked=blob.size > _WHOLE)
        )
        self._check(answer, blob.title or blob.media_type)

    def put_manifest(self, data: bytes) -> str:
        """Send a manifest, under the tag; gives its digest. Raises `IntegrityError` where the registry has another."""
        address = f"{self._scheme}://{self._container.manifest_url(self.reference.tag)}"
        answer = self._request(address, "PUT", data=data, headers={"Content-Type": MEDIA_TYPE})
        self._check(answer, "the manifest")
        digest, kept = digest_of(data), answer.headers.get("Docker-Content-Digest")
        if kept not in {None, digest}:
            raise IntegrityError(f"{self.reference.place} keeps {kept} where {digest} was sent: do not use it.")
        return digest

    def manifest(self) -> bytes:
        """The manifest's bytes. Raises `IntegrityError` for others than its digest promises."""
        address = f"{self._scheme}://{self._container.manifest_url()}"
        with self._request(address, "GET", headers={"Accept": MEDIA_TYPE}, stream=True) as answer:
            self._check(answer, "the manifest")
            data = self._asked(lambda: _limited(answer, LARGEST))
            promised = self.reference.digest or answer.headers.get("Docker-Content-Digest")
        if data is None:
            raise InputError(f"{self.reference} has a manifest of more than {LARGEST:,} bytes: it is no bundle.")
        if promised not in {None, digest_of(data)}:
            raise IntegrityError(
                f"{self.reference} has a manifest {digest_of(data)[:19]}…, promised is {promised[:19]}…: do not use "
                "it; push the bundle again."
            )
        return data

    def blob(self, blob: Descriptor, file: BinaryIO) -> None:
        """Write a blob into an open file. Raises `IntegrityError` for other bytes than its digest and size promise."""
        name = blob.title or "the manifest of the bundle"
        address = f"{self._scheme}://{self._container.get_blob_url(blob.digest)}"
        digest, left = hashlib.sha256(), blob.size
        with self._request(address, "GET", stream=True) as answer:
            self._check(answer, name)
            pieces = answer.iter_content(_CHUNK)
            while chunk := self._asked(lambda: next(pieces, b"")):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                file.write(chunk)
        if left or f"sha256:{digest.hexdigest()}" != blob.digest:
            size = "more" if left < 0 else f"{blob.size - left:,}"
            raise IntegrityError(
                f"{self.reference}: {name} came as {size} bytes with the digest {digest.hexdigest()[:12]}…, promised "
                f"are {blob.size:,} with {blob.digest[7:19]}…: do not use it; pull again, or push the bundle again."
            )

    def _request(self, address: str, method: str, **more: Any) -> Any:
        return self._asked(lambda: self._registry.do_request(address, method, **more))

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """What a request gives; its errors are sentences. Raises `EnvironmentMismatch`."""
        import oras.auth
        import requests

        try:
            return ask()
        except requests.RequestException as error:
            advice = ", or give --plain-http where it has no TLS" if self._scheme == "https" else ""
            raise EnvironmentMismatch(
                f"{self._scheme}://{self.reference.host} cannot be reached ({type(error).__name__}): check the address "
                f"and the network{advice}."
            ) from error
        except (oras.auth.AuthenticationException, ValueError) as error:
            raise EnvironmentMismatch(f"{self.reference.host} refused the request ({error}): {self._login}.") from error

    def _check(self, answer: Any, what: str) -> None:
        code = answer.status_code
        if code == 404:
            raise InputError(f"there is no {self.reference} ({what} was not found): check the name and the tag.")
        if code in {401, 403}:
            raise EnvironmentMismatch(f"{self.reference.place} is not for this user ({code}): {self._login}.")
        if not 200 <= code < 300:
            raise EnvironmentMismatch(f"{self.reference.host} answered {code} for {what}: see the registry's log.")


def _limited(answer: Any, limit: int) -> bytes | None:
    """The body of an answer; None where it has more than `limit` bytes."""
    data = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)
