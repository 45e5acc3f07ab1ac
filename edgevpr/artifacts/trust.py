"""Signatures of bundles, galleries and board-built engines (Ed25519), and their check.

Signed are the SHA-256 of every file, the descriptor space, a name and a version that only grows;
of a bundle's record, all but the list of engines, since a board adds its own. Such an engine is
signed by the board's own key, beside it in ``engines/NAME.signature.json``.

Where EDGEVPR_TRUSTED_KEYS names a file of trusted keys, only bundles and galleries open that one
of them signed, of no lower version than was opened before; ``docs/trust.md`` says what that covers.
"""

import base64
import binascii
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from edgevpr.artifacts.manifest import MOST_JSON, Artifact, decode_json, read_json
from edgevpr.artifacts.policy import BOARD_KEY, POLICY, VERSIONS, trusted_keys_file, versions_file
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.errors import CorruptArtifactError, DataError, ResourceError
from edgevpr.files import write_atomic
from edgevpr.locks import alone
from edgevpr.optional import require

SIGNATURE = "signature.json"
_RECORD = "bundle.json"
_ENGINES = "engines/"
#: First word of a line of trusted keys: trusted for engines built on a board, and nothing else.
_FOR_ENGINES = "engines"
#: Most bytes of a signature, whose list of files is most of it, and of the file of trusted keys.
_MOST_SIGNATURE, _MOST_KEYS = 4 << 20, 1 << 20


class Signature(msgspec.Struct, frozen=True):
    """``signature.json``: raw Ed25519 public key and signature, base64, and what is signed."""

    algorithm: str
    public_key: str
    signature: str
    #: which bundle or gallery it is for a robot, and its version: a robot takes none that is lower.
    name: str = ""
    version: int = 0
    #: SHA-256 by name; None in signatures made before engines and versions were signed.
    files: dict[str, str] | None = None


class EngineSignature(msgspec.Struct, frozen=True):
    """``engines/NAME.signature.json``: a board's key and its signature of one engine."""

    algorithm: str
    public_key: str
    signature: str


class TrustedKeys(msgspec.Struct, frozen=True):
    """Public key -> name: of makers of bundles and galleries, and of boards for their engines."""

    makers: dict[str, str]
    boards: dict[str, str]


class _Versions(msgspec.Struct):
    """The file of the highest versions opened: ``KIND NAME`` -> version."""

    versions: dict[str, int] = {}


def statement(opened: Artifact, name: str = "", version: int = 0) -> tuple[bytes, dict[str, str]]:
    """The bytes that a signature of an artifact is made of, and the files they list."""
    files = {
        file: entry.sha256
        for file, entry in sorted(opened.manifest.files.items())
        if file not in _unlisted(opened)
    }
    return _document(opened, name, version, files), files


def _unlisted(opened: Artifact) -> tuple[str, ...]:
    """Files that the list of a signature leaves out: a bundle's record is signed by content."""
    return (SIGNATURE, _RECORD) if opened.manifest.kind == "bundle" else (SIGNATURE,)


def _document(opened: Artifact, name: str, version: int, files: dict[str, str]) -> bytes:
    document = {
        "kind": f"edgevpr {opened.manifest.kind}",
        "signature": 2,
        "name": name,
        "version": version,
        "space": opened.manifest.space,
        "files": files,
    }
    if opened.manifest.kind == "bundle":
        document["record"] = _record(opened)
    return msgspec.json.encode(document, order="sorted")


def _record(opened: Artifact) -> Any:
    """``bundle.json`` as it stands, unknown fields included, without the list of engines."""
    opened.read(_RECORD, BundleRecord)
    data = opened.bytes(_RECORD, MOST_JSON)
    record = decode_json(opened.path / _RECORD, data, dict[str, Any])
    record["engines"] = []
    return record


def _first_statement(bundle: Artifact) -> bytes:
    """The content that signatures without a list of files were made of."""
    record = msgspec.structs.replace(bundle.read(_RECORD, BundleRecord), engines=[])
    files = {
        name: entry.sha256
        for name, entry in sorted(bundle.manifest.files.items())
        if name not in (SIGNATURE, _RECORD) and not name.startswith(_ENGINES)
    }
    document = {
        "kind": "edgevpr bundle",
        "space": bundle.manifest.space,
        "files": files,
        "record": record,
    }
    return msgspec.json.encode(document, order="sorted")


def signature_of(opened: Artifact) -> Signature | None:
    """The signature of an artifact, checked against its content; None for an unsigned one.

    Engines may have been added to a bundle or taken out since; all else must be as it was signed.

    Raises:
        CorruptArtifactError: the signature is of other content.
    """
    if SIGNATURE not in opened.manifest.files:
        return None
    data = opened.bytes(SIGNATURE, _MOST_SIGNATURE)
    found = decode_json(opened.path / SIGNATURE, data, Signature)
    if found.files is None:
        signed = opened.manifest.kind == "bundle" and _verified(found, _first_statement(opened))
    else:
        signed = _as_signed(opened, found.files) and _verified(
            found, _document(opened, found.name, found.version, found.files)
        )
    if not signed:
        kind = opened.manifest.kind
        raise CorruptArtifactError(
            f"found a signature in {opened.path} that is not of its content, expected an untouched "
            f"{kind}: copy it again from where it was signed, or sign it with edgevpr {kind} sign"
        )
    return found


def _as_signed(opened: Artifact, found: dict[str, str]) -> bool:
    """Whether the folder has the signed files and no others; of a bundle, engines may have been
    added, taken out, or built anew and signed by a board (``engine_signer`` checks that)."""
    here = {
        name: entry.sha256
        for name, entry in opened.manifest.files.items()
        if name not in _unlisted(opened)
    }
    return all(
        here.get(name) == found.get(name)
        or _of_engine(opened, name, name in here and name in found)
        for name in here.keys() | found.keys()
    )


def _of_engine(opened: Artifact, name: str, changed: bool) -> bool:
    """Whether a file that is not as signed is an engine's, and answered for by the engine."""
    if opened.manifest.kind != "bundle" or not name.startswith(_ENGINES):
        return False
    stem = name
    for end in (".engine", ".evidence.json", ".signature.json", ".json"):
        stem = stem.removesuffix(end)
    return not changed or f"{stem}.signature.json" in opened.manifest.files


def _verified(found: Signature | EngineSignature, signed: bytes) -> bool:
    exceptions = require("cryptography.exceptions", extra="sign")
    keys = _ed25519()
    if found.algorithm != "ed25519":
        return False
    try:
        public = base64.b64decode(found.public_key, validate=True)
        keys.Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(found.signature, validate=True), signed
        )
    except (exceptions.InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def signer(opened: Artifact) -> str | None:
    """The public key that signed an artifact, checked; None for an unsigned one.

    Raises:
        CorruptArtifactError: the signature is of other content.
    """
    found = signature_of(opened)
    return None if found is None else found.public_key


def check_trusted(opened: Artifact, trusted_keys: Path, *, note: bool = False) -> str:
    """The name of the trusted key that signed a bundle or a gallery.

    Args:
        trusted_keys: a line a key, the base64 public key and a name, for engines alone with the
            word ``engines`` in front; # starts a comment.
        note: remember the version, so that no lower one is taken from now on.

    Raises:
        DataError: the file cannot be read or holds something else.
        CorruptArtifactError: the artifact is unsigned, changed, signed by another key, or of a
            lower version than one opened before.
        ResourceError: the version cannot be remembered.
    """
    kind = opened.manifest.kind
    known = read_trusted(trusted_keys).makers
    found = signature_of(opened)
    if found is None:
        raise CorruptArtifactError(
            f"found {opened.path} not signed, expected a signature by a key of {trusted_keys}: "
            f"sign it with edgevpr {kind} sign, or unset {POLICY}"
        )
    if found.public_key not in known:
        raise CorruptArtifactError(
            f"found {opened.path} signed by {found.public_key}, expected a key that {trusted_keys} "
            "lists: sign it with one of them, or add this one if you trust it"
        )
    _check_version(opened, found, versions_file(trusted_keys), note=note)
    return known[found.public_key]


def _check_version(opened: Artifact, found: Signature, file: Path, *, note: bool) -> None:
    kind = opened.manifest.kind
    seen = _read_versions(file)
    key = f"{kind} {found.name}"
    if found.files is None:  # signed before there were versions: older than any that has one
        least = max((v for k, v in seen.items() if k.startswith(f"{kind} ")), default=0)
    else:
        least = seen.get(key, 0)
    if found.version < least:
        raise CorruptArtifactError(
            f"found {opened.path} signed as version {found.version}, expected {least} or higher, "
            f"the last that {file} notes: take the newer one, or sign this one again with edgevpr "
            f"{kind} sign"
        )
    if note and found.files is not None and found.version > least:
        _note_version(file, key, found.version)


def _read_versions(file: Path) -> dict[str, int]:
    try:
        file.lstat()
    except FileNotFoundError:
        return {}
    except OSError:  # reading it says what is wrong
        pass
    try:
        return read_json(file, _Versions).versions
    except CorruptArtifactError as error:
        raise DataError(
            f"found {file} unreadable, expected the versions that were opened so far: write them "
            f'by hand as {{"versions": {{"bundle NAME": 7}}}}, or name another file in {VERSIONS}'
        ) from error


def _note_version(file: Path, key: str, version: int) -> None:
    try:
        with alone(file.parent):
            seen = _read_versions(file)
            if seen.get(key, 0) < version:
                record = _Versions({**seen, key: version})
                write_atomic(file, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except OSError as error:
        raise ResourceError(
            f"found {file} not writable ({error.strerror}), expected to note there which version "
            f"was opened: let this user write its folder, or name another file in {VERSIONS}"
        ) from error


def engine_statement(sidecar: EngineSidecar) -> bytes:
    """The bytes that a board signs for an engine: its sidecar, which names its SHA-256."""
    document = {"kind": "edgevpr engine", "signature": 2, "sidecar": sidecar}
    return msgspec.json.encode(document, order="sorted")


def engine_signer(bundle: Artifact, stem: str, signature: Signature | None) -> str | None:
    """The public key that answers for ``engines/STEM.engine``; None where none does.

    Args:
        signature: the bundle's own, checked (``signature_of``): it answers for the engines that
            were there when the bundle was signed.

    Raises:
        CorruptArtifactError: the board's signature is of another engine.
    """
    files = (signature.files if signature else None) or {}
    names = [f"{_ENGINES}{stem}{end}" for end in (".engine", ".json")]
    here = bundle.manifest.files
    if signature and all(n in files and n in here and files[n] == here[n].sha256 for n in names):
        return signature.public_key
    name = f"{_ENGINES}{stem}.signature.json"
    if name not in here:
        return None
    data = bundle.bytes(name, _MOST_SIGNATURE)
    found = decode_json(bundle.path / name, data, EngineSignature)
    sidecar = bundle.read(names[1], EngineSidecar)
    bundle.file(names[0])
    same = here[names[0]].sha256 == sidecar.sha256
    if not same or not _verified(found, engine_statement(sidecar)):
        raise _other_engine(bundle, stem)
    return found.public_key


def _other_engine(bundle: Artifact, stem: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found a signature of engine {stem} in {bundle.path} that is not of this engine, expected "
        "the one that was signed: run edgevpr build again on this machine"
    )


def check_engine_trusted(bundle: Artifact, stem: str) -> None:
    """Raise unless an engine may run here; without a policy every engine may.

    Raises:
        CorruptArtifactError: no trusted key answers for it.
    """
    policy = trusted_keys_file()
    if policy is not None:
        _check_engine(bundle, stem, engine_signer(bundle, stem, signature_of(bundle)), policy)


def engine_signers(opened: Artifact) -> dict[str, str | None]:
    """Each engine of a bundle -> the public key that answers for it; no engines, no rows.

    Raises:
        CorruptArtifactError: a signature is of something else.
    """
    signature = signature_of(opened)
    stems = [
        name[len(_ENGINES) : -len(".engine")]
        for name in opened.manifest.files
        if name.startswith(_ENGINES) and name.endswith(".engine")
    ]
    return {stem: engine_signer(opened, stem, signature) for stem in stems}


def check_engines_trusted(bundle: Artifact, trusted_keys: Path) -> None:
    """Raise unless a trusted key answers for every engine of a bundle.

    Raises:
        CorruptArtifactError: none answers for one of them.
    """
    for stem, by in engine_signers(bundle).items():
        _check_engine(bundle, stem, by, trusted_keys)


def _check_engine(bundle: Artifact, stem: str, by: str | None, policy: Path) -> None:
    known = read_trusted(policy)
    if by is None:
        raise CorruptArtifactError(
            f"found engine {stem} of {bundle.path} not signed, expected a signature by the "
            f"bundle's maker or by this board: run edgevpr build with {BOARD_KEY} set to the "
            f"board's key, or sign the bundle again with edgevpr bundle sign"
        )
    if by not in known.makers and by not in known.boards:
        raise CorruptArtifactError(
            f"found engine {stem} of {bundle.path} signed by {by}, expected a key that {policy} "
            f"lists: add the line '{_FOR_ENGINES} {by} BOARD' to it if you trust that board"
        )


def read_trusted(path: Path) -> TrustedKeys:
    """The keys of a file.

    Raises:
        DataError: it cannot be read, has a line that is no key, or no key at all.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_KEYS + 1)
        lines = data.decode("utf-8").splitlines() if len(data) <= _MOST_KEYS else None
    except (OSError, UnicodeDecodeError) as error:
        raise _no_keys(path, f"unreadable ({error})") from error
    if lines is None:
        raise _no_keys(path, f"larger than {_MOST_KEYS >> 20} MiB")
    makers: dict[str, str] = {}
    boards: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        key, _, name = line.partition("#")[0].strip().partition(" ")
        known = makers
        if key == _FOR_ENGINES:
            known = boards
            key, _, name = name.strip().partition(" ")
        if not key and known is makers:
            continue
        size = 0
        with contextlib.suppress(ValueError):  # binascii.Error, or characters beyond ASCII
            size = len(base64.b64decode(key, validate=True))
        if size != 32:
            raise DataError(
                f"found {key[:20]!r} at the start of line {number} of {path}, expected a base64 "
                "Ed25519 key of 44 characters: copy the line that edgevpr bundle key prints"
            )
        known[key] = name.strip() or key
    if not makers and not boards:
        raise _no_keys(path, "without any")
    return TrustedKeys(makers, boards)


def _no_keys(path: Path, found: str) -> DataError:
    return DataError(
        f"found the trusted keys {path} {found}, expected a line a key: write them as edgevpr "
        "bundle key prints them"
    )


def _ed25519() -> Any:
    return require("cryptography.hazmat.primitives.asymmetric.ed25519", extra="sign")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
