"""`signature.json`: the OpenSSF model signature of a bundle, made and checked offline with a key on a NIST curve.

It is a Sigstore bundle with a DSSE envelope around an in-toto statement, which lists the SHA-256 of `manifest.json` and
of every file (OpenSSF Model Signing 1.0). The library's own command checks it, too: `model_signing verify key BUNDLE
--signature BUNDLE/signature.json --public_key PUB`.

The library takes the word of what was signed for what to leave out, and reads any spelling of the JSON. Here the list
has to be the whole bundle, and the spelling the one that `sign` writes.
ECDSA draws a random number: two signatures of one bundle differ.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import EnvironmentMismatch, InputError, IntegrityError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, Manifest
from visiondeploy.pipeline.files import sha256_file, write_atomic

if TYPE_CHECKING:
    from model_signing.hashing import Config

_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out KEY; openssl ec -in KEY -pubout -out PUB"
_LARGEST_KEY = 1 << 16


def check_signer(key: Path) -> None:
    """Raise now what `sign` would raise for a key."""
    _require()
    _check_key(key, private=True)


def sign(folder: Path, key: Path) -> None:
    """Write `signature.json` of the bundle in `folder` with the private key in the PEM file `key`.

    Raises `InputError` for a key that cannot be used, `EnvironmentMismatch` where model-signing is not installed,
    `ResourceError` where the file cannot be written.
    """
    check_signer(key)
    from model_signing import signing

    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as name:
        made = Path(name) / SIGNATURE
        signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(_hashing())
        signer.sign(folder, made)
        write_atomic(folder / SIGNATURE, _spelled(json.loads(made.read_bytes())))
    (folder / SIGNATURE).chmod(0o644)


def check_signature(folder: Path, manifest: Manifest, key: Path) -> None:
    """Check that `signature.json` is one of all files of the bundle in `folder` by the owner of the public key `key`.

    `folder` holds what `manifest` lists and nothing else. Raises `IntegrityError`, `InputError` for a key that cannot
    be used, and `EnvironmentMismatch` where model-signing is not installed.
    """
    _require()
    public = _check_key(key, private=False)
    path = folder / SIGNATURE
    if not path.exists():
        raise IntegrityError(f"there is no {SIGNATURE}, but a key was given: have it signed, `deploy bundle --sign`.")
    data = path.read_bytes()
    if not data:
        raise IntegrityError(f"{SIGNATURE} is empty: do not use the bundle; have it signed again.")
    statement = _statement(data, hashlib.sha256(public).hexdigest(), key)
    _check_by_library(folder, key)
    # Now it is known that the statement is the signer's.
    expected = {MANIFEST: sha256_file(folder / MANIFEST), **{entry.path: entry.sha256 for entry in manifest.files}}
    if statement != sorted((name, "sha256", digest) for name, digest in expected.items()):
        raise IntegrityError(f"{SIGNATURE} signs other files than {MANIFEST} lists: have the bundle signed again.")


def _require() -> None:
    try:
        import model_signing  # noqa: F401
        import OpenSSL  # noqa: F401 - model-signing needs it and does not ask for it
    except ImportError as error:
        raise EnvironmentMismatch(f"signatures need {error.name}: pip install 'visiondeploy[serve]'.") from None
    # It reports what it does not do with a network.
    logging.getLogger("sigstore").setLevel(logging.ERROR)


def _hashing() -> Config:
    """All files but the signature, also those that Git has names for, and no symbolic link."""
    from model_signing import hashing

    plain = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return plain.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _check_key(path: Path, *, private: bool) -> bytes:
    """The public half in PEM. Raises `InputError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    kind = "private" if private else "public"
    wanted = f"expected the {kind} half of an EC P-256 key as PEM without a password ({_MAKE})"
    try:
        data = read_bytes(path, _LARGEST_KEY)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), {wanted}.") from None
    try:
        key: Any = (
            serialization.load_pem_private_key(data, None) if private else serialization.load_pem_public_key(data)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{path} is no such key, {wanted}.") from None
    public = key.public_key() if private else key
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in ("secp256r1", "secp384r1"):
        raise InputError(f"{path} is a key of another kind, {wanted}.")
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _statement(data: bytes, hint: str, key: Path) -> list[tuple[str, str, str]]:
    """Names, algorithms and digests in a signature: its spelling and key were checked, but not yet whether it holds."""
    try:
        found = json.loads(data)
        envelope = found["dsseEnvelope"]
        parts = [_decoded(part) for part in (envelope["payload"], envelope["signatures"][0]["sig"])]
        named = found["verificationMaterial"]["publicKey"]["hint"]
        whole = _spelled(_document(parts[0], parts[1], named)) == data.decode("ascii")
        listed = json.loads(parts[0])["predicate"]["resources"]
        files = sorted((str(one["name"]), str(one["algorithm"]), str(one["digest"])) for one in listed)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise IntegrityError(f"{SIGNATURE} is not a signature, or damaged: have the bundle signed again.") from None
    if named != hint:
        raise IntegrityError(f"{SIGNATURE} was made with another key than {key}: check which key is the signer's.")
    if not whole:
        raise IntegrityError(f"{SIGNATURE} is not spelt as `deploy bundle --sign` writes it: have it signed again.")
    return files


def _decoded(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("another spelling of the same bytes")
    return data


def _document(payload: bytes, signature: bytes, hint: str) -> dict[str, Any]:
    """All that a signature with a key consists of."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def _spelled(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _check_by_library(folder: Path, key: Path) -> None:
    from model_signing import verifying

    verifier = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(_hashing())
    try:
        verifier.verify(folder, folder / SIGNATURE)
    except Exception as error:  # the library's, cryptography's and pydantic's share no base
        reason = " ".join(str(error).split())[:200] or "the bytes were not signed with this key"
        raise IntegrityError(f"{SIGNATURE} does not hold ({reason}): do not use the bundle.") from None
