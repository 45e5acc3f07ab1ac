"""Keys and signatures of bundles (Ed25519)."""

import os
import shutil
from pathlib import Path

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.trust import SIGNATURE, Signature, _ed25519, _text, statement
from edgevpr.errors import DataError, UsageError
from edgevpr.optional import require
from edgevpr.printable import shell_word


def new_key(path: Path) -> str:
    """Write a new private key (PEM, readable by its owner alone); returns the public key.

    Raises:
        UsageError: something is at ``path``: a key is never written over.
    """
    keys = _ed25519()
    serialization = require("cryptography.hazmat.primitives.serialization", extra="sign")
    private = keys.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"found something at {path}, expected a free place, as a key is never written over: "
            "choose another `out`"
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return _text(private.public_key().public_bytes_raw())


def sign(bundle: Path, key: Path) -> str:
    """Sign a bundle with a private key (PEM); returns the public key.

    Raises:
        DataError: the key does not read as an Ed25519 private key.
    """
    serialization = require("cryptography.hazmat.primitives.serialization", extra="sign")
    keys = _ed25519()
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"found no readable private key in {key} ({error}), expected Ed25519 in PEM: make one "
            f"with edgevpr bundle key -o {shell_word(key)}"
        ) from error
    if not isinstance(private, keys.Ed25519PrivateKey):
        raise DataError(
            f"found another kind of key in {key}, expected Ed25519: make one with edgevpr bundle "
            f"key -o {shell_word(key)}"
        )
    opened = open_artifact(bundle, "bundle")
    public = _text(private.public_key().public_bytes_raw())
    signature = Signature("ed25519", public, _text(private.sign(statement(opened))))
    with write_artifact(bundle, "bundle", space=opened.manifest.space) as folder:
        for name in opened.manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opened.file(name), folder / name)
        write_json(folder / SIGNATURE, signature)
    return public
