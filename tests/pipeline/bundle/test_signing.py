"""Signatures: the signer's alone hold, over the whole bundle, in one spelling."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.bundles import FILES, Keys, keys, put, write_bundle
from kit.bundling import bundled

from visiondeploy.errors import EnvironmentMismatch, InputError, IntegrityError
from visiondeploy.pipeline.bundle.checked import checked
from visiondeploy.pipeline.bundle.manifest import SIGNATURE, Role
from visiondeploy.pipeline.bundle.signing import sign

pytest.importorskip("model_signing", reason="the extra 'serve' is not installed")
pytest.importorskip("OpenSSL", reason="the extra 'serve' is not installed")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Keys:
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def bundle(tmp_path, pair) -> Path:
    folder = write_bundle(tmp_path / "toy")
    sign(folder, pair.private)
    return folder


def check(bundle: Path, key: Path) -> None:
    with checked(bundle, key):
        pass


def test_the_signers_signature_holds(bundle, pair) -> None:
    check(bundle, pair.public)


def test_the_librarys_own_command_takes_it(bundle, pair) -> None:
    words = ["verify", "key", bundle, "--signature", bundle / SIGNATURE, "--public_key", pair.public]
    done = subprocess.run([sys.executable, "-m", "model_signing", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("curve", ["secp384r1"])
def test_a_longer_key_will_do(tmp_path, curve) -> None:
    longer = keys(tmp_path, curve=curve)
    sign(write_bundle(tmp_path / "toy"), longer.private)
    check(tmp_path / "toy", longer.public)


def test_another_key_does_not(bundle, tmp_path) -> None:
    with pytest.raises(IntegrityError, match="another key"):
        check(bundle, keys(tmp_path).public)


def test_no_signature_does_not(bundle, pair) -> None:
    (bundle / SIGNATURE).unlink()
    with pytest.raises(IntegrityError, match="there is no signature"):
        check(bundle, pair.public)


def test_an_empty_one_does_not(bundle, pair) -> None:
    put(bundle / SIGNATURE, b"")
    with pytest.raises(IntegrityError, match="is empty"):
        check(bundle, pair.public)


def test_one_of_another_bundle_does_not(bundle, pair, tmp_path) -> None:
    other = write_bundle(tmp_path / "other", {**FILES, "MODEL_CARD.md": (Role.CARD, b"# toz\n")})
    sign(other, pair.private)
    put(bundle / SIGNATURE, (other / SIGNATURE).read_bytes())
    with pytest.raises(IntegrityError, match="does not hold"):
        check(bundle, pair.public)


def test_a_manifest_with_digests_that_fit_needs_the_signer(bundle, pair) -> None:
    write_bundle(bundle, {**FILES, "MODEL_CARD.md": (Role.CARD, b"# toz\n")})
    check_without_key = checked(bundle)
    with check_without_key:
        pass
    with pytest.raises(IntegrityError, match="does not hold"):
        check(bundle, pair.public)


def test_a_statement_that_leaves_files_out_is_refused(tmp_path, pair) -> None:
    """The signer's own, but made with the library, which leaves out what it is told to."""
    from model_signing import hashing, signing

    from visiondeploy.pipeline.bundle import signing as ours

    folder = write_bundle(tmp_path / "toy")
    partly = hashing.Config().use_file_serialization().set_ignored_paths(paths=["engine", SIGNATURE])
    config = signing.Config().use_elliptic_key_signer(private_key=pair.private).set_hashing_config(partly)
    config.sign(folder, tmp_path / "made")
    put(folder / SIGNATURE, ours._spelled(json.loads((tmp_path / "made").read_bytes())).encode())
    with pytest.raises(IntegrityError, match="other files"):
        check(folder, pair.public)


def another_payload(found: dict[str, Any]) -> None:
    envelope = found["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"]).replace(b'"toy"', b'"tot"')
    envelope["payload"] = base64.b64encode(payload).decode()


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "payload": another_payload,
    "no hint": lambda found: found["verificationMaterial"]["publicKey"].clear(),
    "one more field": lambda found: found.update(more=1),
    "another type": lambda found: found["dsseEnvelope"].update(payloadType="text/plain"),
    "a second signature": lambda found: found["dsseEnvelope"]["signatures"].append({"sig": "", "keyid": ""}),
    "no signature": lambda found: found["dsseEnvelope"]["signatures"].clear(),
    "key id": lambda found: found["dsseEnvelope"]["signatures"][0].update(keyid="a"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_one_is_refused(name, bundle, pair) -> None:
    found = json.loads((bundle / SIGNATURE).read_bytes())
    EDITS[name](found)
    put(bundle / SIGNATURE, (json.dumps(found, indent=2, sort_keys=True) + "\n").encode())
    with pytest.raises(IntegrityError):
        check(bundle, pair.public)


@pytest.mark.parametrize("data", [b"[", b"[]", b"7", b"null", b"\xff", b"[" * 100_000], ids=repr)
def test_what_is_none_at_all_is_refused(data, bundle, pair) -> None:
    put(bundle / SIGNATURE, data)
    with pytest.raises(IntegrityError, match="not a signature"):
        check(bundle, pair.public)


def test_another_spelling_is_refused(bundle, pair) -> None:
    put(bundle / SIGNATURE, json.dumps(json.loads((bundle / SIGNATURE).read_bytes())).encode())
    with pytest.raises(IntegrityError, match="spelt"):
        check(bundle, pair.public)


class TestKeys:
    def test_the_private_half_is_not_for_checking(self, bundle, pair) -> None:
        with pytest.raises(InputError, match="public half"):
            check(bundle, pair.private)

    def test_the_public_half_is_not_for_signing(self, bundle, pair) -> None:
        with pytest.raises(InputError, match="private half"):
            sign(bundle, pair.public)

    def test_a_key_of_another_kind_is_refused(self, bundle, tmp_path) -> None:
        words = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key"]
        subprocess.run(words, check=True, capture_output=True)
        with pytest.raises(InputError, match="another kind"):
            sign(bundle, tmp_path / "key")

    def test_a_file_that_is_not_there_is_named(self, bundle, tmp_path) -> None:
        with pytest.raises(InputError, match=r"gone\.pem"):
            check(bundle, tmp_path / "gone.pem")

    def test_a_key_with_a_password_is_refused(self, bundle, pair, tmp_path) -> None:
        words = ["openssl", "pkcs8", "-topk8", "-in", pair.private, "-passout", "pass:abc", "-out", tmp_path / "locked"]
        subprocess.run(words, check=True, capture_output=True)
        with pytest.raises(InputError, match="without a password"):
            sign(bundle, tmp_path / "locked")


def test_without_the_extra_it_says_what_to_install(bundle, pair, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(EnvironmentMismatch, match=r"pip install 'visiondeploy\[serve\]'"):
        check(bundle, pair.public)


def test_a_key_that_cannot_sign_is_found_before_anything_is_made(pair, tmp_path) -> None:
    with pytest.raises(InputError, match="private half"):
        bundled(tmp_path / "no build", tmp_path / "b", key=pair.public)
