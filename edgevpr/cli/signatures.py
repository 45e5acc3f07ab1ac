"""Signing and verifying, as ``edgevpr bundle`` and ``edgevpr gallery`` both do."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
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


def add_to(group: typer.Typer, kind: str, *, made_by: str, verifying: str, signing: str) -> None:
    """Put the verbs ``verify`` and ``sign`` into the group of a kind of artifact.

    Args:
        made_by: verb that writes such an artifact.
        verifying, signing: help of the two.
    """
    artifact = typer.Argument(
        metavar=kind.upper(), help=f"{kind.capitalize()} artifact (edgevpr {made_by})."
    )
    keys = typer.Option(
        help=f"File of public keys, one a line: the {kind} must be signed by one of them. "
        "Without it, that of EDGEVPR_TRUSTED_KEYS."
    )

    @group.command("verify", help=verifying)
    def verify_command(
        path: Annotated[Path, artifact],
        trusted_keys: Annotated[Path | None, keys] = None,
        json: Json = False,
    ) -> None:
        verify(path, kind, trusted_keys, json=json)

    @group.command("sign", help=signing)
    def sign_command(
        path: Annotated[Path, artifact],
        private_key: Annotated[
            Path, typer.Option("--key", help="Private key (edgevpr bundle key), Ed25519, PEM.")
        ],
        name: Name = "",
        version: Version = None,
        json: Json = False,
    ) -> None:
        sign_artifact(path, kind, private_key, name, version, json=json)


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
