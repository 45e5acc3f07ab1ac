"""Signing and verifying, as ``edgevpr bundle`` and ``edgevpr gallery`` both do."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console

Name = Annotated[
    str,
    typer.Option(
        "--signed-name",
        help="Which one it is for a robot, which opens no lower version of that name again; "
        "the folder's name when left out.",
    ),
]
Version = Annotated[
    int | None,
    typer.Option(
        "--signed-version",
        min=1,
        help="Version that is signed; seconds since 1970 when left out.",
    ),
]


def sign_artifact(
    path: Path, kind: str, key: Path, name: str, version: int | None, *, json: bool
) -> None:
    """Sign, and say what was signed."""
    from edgevpr.artifacts.sign import sign

    signed = sign(path, key, kind=kind, name=name, version=version)
    if json:
        console.emit_json(
            {"public_key": signed.public_key, "name": signed.name, "version": signed.version}
        )
        return
    console.note(f"signed {path} as {signed.name}, version {signed.version}, {signed.public_key}")


def verify(path: Path, kind: str, trusted_keys: Path | None, *, json: bool) -> None:
    """Check hashes, records, signature and engines; say who signed what."""
    from edgevpr.artifacts.folder import open_artifact
    from edgevpr.artifacts.policy import trusted_keys_file
    from edgevpr.artifacts.trust import (
        check_engines_trusted,
        check_trusted,
        engine_signers,
        signature_of,
    )

    opened = open_artifact(path, kind, trust=False)
    trusted_keys = trusted_keys or trusted_keys_file()
    signature = signature_of(opened)
    by = signature.public_key if signature else None
    engines = engine_signers(opened)
    if trusted_keys is not None:
        by = check_trusted(opened, trusted_keys)
        check_engines_trusted(opened, trusted_keys)
    count = len(opened.manifest.files)
    if json:
        document = {"files": count, "signed_by": by, "engines": engines}
        if signature:
            document |= {"name": signature.name, "version": signature.version}
        console.emit_json(document)
        return
    signed = "not signed"
    if signature:
        signed = f"signed by {by} as {signature.name or 'no name'}, version {signature.version}"
    console.note(f"{path}: {count} files are as they were written, {signed}")
    for engine, key in engines.items():
        console.note(f"engine {engine}: " + (f"signed by {key}" if key else "not signed"))
