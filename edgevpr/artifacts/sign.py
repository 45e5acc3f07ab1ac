"""Keys, and signatures of bundles, galleries and board-built engines (Ed25519)."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, write_json
from edgevpr.artifacts.policy import BOARD_KEY, POLICY, board_key_file, trusted_keys_file
from edgevpr.artifacts.records import EngineSidecar
from edgevpr.artifacts.trust import (
    SIGNATURE,
    EngineSignature,
    Signature,
    _ed25519,
    _text,
    engine_statement,
    statement,
)
from edgevpr.errors import CorruptArtifactError, DataError, UsageError
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


def sign(
    path: Path, key: Path, *, kind: str = "bundle", name: str = "", version: int | None = None
) -> Signature:
    """Sign a bundle or a gallery with a private key (PEM), all its files, engines included.

    Args:
        name: which bundle or gallery it is for a robot; the folder's name when left out.
        version: 1 or more; robots take no lower one than they have opened of that name. Seconds
            since 1970 when left out, or one more than that of the signature it replaces.

    Raises:
        DataError: the key does not read as an Ed25519 private key.
        UsageError: a version out of range.
    """
    private = _read_private(key)
    opened = open_artifact(path, kind, trust=False)
    if version is None:
        version = max(int(time.time()), _version_before(opened) + 1)
    if not 1 <= version < 1 << 53:
        raise UsageError(
            f"found `version` {version}, expected 1 to {(1 << 53) - 1}: leave it out, or pass "
            "`version` 1"
        )
    name = name or Path(path).resolve().name
    signed, files = statement(opened, name, version)
    signature = Signature(
        algorithm="ed25519",
        public_key=_text(private.public_key().public_bytes_raw()),
        signature=_text(private.sign(signed)),
        name=name,
        version=version,
        files=files,
    )
    with write_artifact(path, kind, space=opened.manifest.space) as folder:
        for file in opened.manifest.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opened.held(file), folder / file)
        write_json(folder / SIGNATURE, signature)
    return signature


def _version_before(opened: Artifact) -> int:
    if SIGNATURE not in opened.manifest.files:
        return 0
    try:
        return opened.read(SIGNATURE, Signature).version
    except CorruptArtifactError:  # no signature at all: replaced all the same
        return 0


def sign_engine(folder: Path, sidecar: EngineSidecar) -> None:
    """Sign an engine that this board built with the board's key, where it has one.

    Args:
        folder: that the engine and its sidecar are in.

    Raises:
        UsageError, DataError: as ``check_board_key``.
    """
    private = _board_key()
    if private is None:
        return
    signature = EngineSignature(
        algorithm="ed25519",
        public_key=_text(private.public_key().public_bytes_raw()),
        signature=_text(private.sign(engine_statement(sidecar))),
    )
    stem = sidecar.engine.removesuffix(".engine")
    write_json(folder / f"{stem}.signature.json", signature)


def check_board_key() -> None:
    """Raise where a new engine could not be signed though the policy asks for it.

    Raises:
        UsageError: the policy is set, and no key of the board.
        DataError: the key does not read as an Ed25519 private key.
    """
    if _board_key() is None and trusted_keys_file() is not None:
        raise UsageError(
            f"found {POLICY} set and no {BOARD_KEY}, expected a key to sign the new engine with, "
            "as it would not be opened here: make one with edgevpr bundle key, list it in the file "
            f"that {POLICY} names as 'engines KEY NAME', and set {BOARD_KEY} to the key"
        )


def _board_key() -> Any:
    """The board's private key; None without one."""
    key = board_key_file()
    return None if key is None else _read_private(key)


def _read_private(key: Path) -> Any:
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
    return private
