"""Optional packages: present ones come back, absent ones end in one sentence."""

import json
import sys

import pytest

from edgevpr.errors import MissingExtraError
from edgevpr.optional import require


def test_a_package_that_is_there() -> None:
    """Catches a wrapper that returns the top package for a submodule."""
    assert require("json", extra="train") is json
    assert require("json.decoder", extra="train") is sys.modules["json.decoder"]


@pytest.mark.parametrize("module", ["not_installed_anywhere", "not_installed_anywhere.part"])
def test_a_package_that_is_not(module: str) -> None:
    """Catches a bare ModuleNotFoundError, and a pip command with the wrong extra."""
    with pytest.raises(
        MissingExtraError,
        match=r"no Python package 'not_installed_anywhere', .*pip install 'edgevpr\[compile\]'",
    ):
        require(module, extra="compile")


def test_a_part_that_a_present_package_lacks() -> None:
    """Catches the blame put on the whole package without a way to tell which was missing."""
    with pytest.raises(MissingExtraError, match="'json'"):
        require("json.not_a_module", extra="train")
