"""Optional packages: present ones come back, absent ones end in one sentence."""

import json
import sys

import pytest

from edgevpr.errors import MissingExtraError
from edgevpr.optional import require


def test_a_package_that_is_there() -> None:
    """A submodule is returned itself, not its package."""
    assert require("json", extra="train") is json
    assert require("json.decoder", extra="train") is sys.modules["json.decoder"]


@pytest.mark.parametrize("module", ["not_installed_anywhere", "not_installed_anywhere.part"])
def test_a_package_that_is_not(module: str) -> None:
    """One sentence with the pip command of the right extra."""
    with pytest.raises(
        MissingExtraError,
        match=r"no Python package 'not_installed_anywhere', .*pip install 'edgevpr\[compile\]'",
    ):
        require(module, extra="compile")


def test_a_part_that_a_present_package_lacks() -> None:
    """The message names the module that is missing."""
    with pytest.raises(MissingExtraError, match="'json'"):
        require("json.not_a_module", extra="train")
