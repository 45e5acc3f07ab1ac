"""Signatures of bundles (Ed25519), checked against a file of trusted keys.

Signed are the SHA-256 of every file of the bundle and its record, without engines and the list of
them: those a board builds itself from the signed graph and recipe.

Where EDGEVPR_TRUSTED_KEYS names a file of trusted keys, only bundles signed by one of them open.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import msgspec

from edgevpr.artifacts.manifest import Artifact, read_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.errors import CorruptArtifactError, DataError
from edgevpr.optional import require

#: Environment variable with the file of keys whose bundles may be opened.
POLICY = "EDGEVPR_TRUSTED_KEYS"
SIGNATURE = "signature.json"
_RECORD = "bundle.json"


class Signature(msgspec.Struct, frozen=True):
    """``signature.json``: raw Ed25519 public key and signature, base64."""

    algorithm: str
    public_key: str
    signature: str


def statement(bundle: Artifact) -> bytes:
    """The bytes that are signed."""
    record = msgspec.structs.replace(bundle.read(_RECORD, BundleRecord), engines=[])
    files = {
        name: entry.sha256
        for name, entry in sorted(bundle.manifest.files.items())
        if name not in (SIGNATURE, _RECORD) and not name.startswith("engines/")
    }
    document = {
        "kind": "edgevpr bundle",
        "space": bundle.manifest.space,
        "files": files,
        "record": record,
    }
    return msgspec.json.encode(document, order="sorted")


def signer(bundle: Artifact) -> str | None:
    """The public key that signed a bundle, checked; None for an unsigned bundle.

    Raises:
        CorruptArtifactError: the signature is of other content.
    """
    if SIGNATURE not in bundle.manifest.files:
        return None
    found = read_json(bundle.file(SIGNATURE), Signature)
    exceptions = require("cryptography.exceptions", extra="sign")
    try:
        public = _ed25519().Ed25519PublicKey.from_public_bytes(base64.b64decode(found.public_key))
        public.verify(base64.b64decode(found.signature), statement(bundle))
    except (exceptions.InvalidSignature, ValueError, binascii.Error) as error:
        raise CorruptArtifactError(
            f"found a signature in {bundle.path} that is not of its content, expected an untouched "
            "bundle: copy it again from where it was signed"
        ) from error
    return found.public_key


def check_trusted(bundle: Artifact, trusted_keys: Path) -> str:
    """The name of the trusted key that signed a bundle.

    Args:
        trusted_keys: a line a key, the base64 public key and a name; # starts a comment.

    Raises:
        DataError: the file cannot be read or holds something else.
        CorruptArtifactError: the bundle is unsigned, changed, or signed by another key.
    """
    known = read_trusted(trusted_keys)
    by = signer(bundle)
    if by is None:
        raise CorruptArtifactError(
            f"found {bundle.path} not signed, expected a signature by a key of {trusted_keys}: "
            f"sign it with edgevpr bundle sign, or unset {POLICY}"
        )
    if by not in known:
        raise CorruptArtifactError(
            f"found {bundle.path} signed by {by}, expected a key that {trusted_keys} lists: sign "
            "it with one of them, or add this one if you trust it"
        )
    return known[by]


def read_trusted(path: Path) -> dict[str, str]:
    """Public key -> name."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"found the trusted keys {path} unreadable ({error}), expected a line a key: write "
            "them as edgevpr bundle key prints them"
        ) from error
    known = {}
    for number, line in enumerate(lines, 1):
        key, _, name = line.partition("#")[0].strip().partition(" ")
        if not key:
            continue
        try:
            size = len(base64.b64decode(key, validate=True))
        except binascii.Error:
            size = 0
        if size != 32:
            raise DataError(
                f"found {key[:20]!r} at the start of line {number} of {path}, expected a base64 "
                "Ed25519 key of 44 characters: copy the line that edgevpr bundle key prints"
            )
        known[key] = name.strip() or key
    return known


def _ed25519() -> Any:
    return require("cryptography.hazmat.primitives.asymmetric.ed25519", extra="sign")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
