"""Policy of a robot: whether what it opens must be signed, and where its keys are."""

import os
from pathlib import Path

from edgevpr.errors import UsageError

#: Environment variable with the file of keys whose bundles and galleries may be opened.
POLICY = "EDGEVPR_TRUSTED_KEYS"
#: Environment variable with the private key that a board signs its own engines with.
BOARD_KEY = "EDGEVPR_BOARD_KEY"
#: Environment variable with the file of the highest signed versions opened so far.
VERSIONS = "EDGEVPR_SIGNED_VERSIONS"
#: Kinds that a robot runs, and that are signed.
SIGNED_KINDS = ("bundle", "gallery")


def trusted_keys_file() -> Path | None:
    """The file of trusted keys; None without a policy.

    Raises:
        UsageError: the variable is set to nothing, which is no way to switch the policy off.
    """
    return _named(POLICY)


def board_key_file() -> Path | None:
    """The board's private key; None without one.

    Raises:
        UsageError: the variable is set to nothing.
    """
    return _named(BOARD_KEY)


def versions_file(trusted_keys: Path) -> Path:
    """Where the highest versions opened are kept: beside the trusted keys unless set."""
    return _named(VERSIONS) or trusted_keys.with_name(f"{trusted_keys.name}.versions")


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if value is None:
        return None
    if not value.strip():
        raise UsageError(
            f"found {variable} empty, expected the name of a file: set it to one, or unset it"
        )
    return Path(value)
