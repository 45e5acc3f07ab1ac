"""Search parameters: refused before a search, where FAISS would crash in it."""

import pytest

from edgevpr.errors import UsageError
from edgevpr.runtime import Gallery
from edgevpr.runtime.gallery.search_parameters import parameters_problem

from ..build import World


@pytest.mark.parametrize(
    "parameters",
    [
        *("nprobe=0", "nprobe=-3", "nprobe=nan", "nprobe=inf", "nprobe=1e30", "nprobe=1.5"),
        *("k_factor_rf=0", "k_factor_rf=0.5", "k_factor_rf=-1", "k_factor_rf=1e9"),
        *("nprobe", "nprobe=", "nprobe=foo", "nprobe=4x", "=3", "nprobe=2,,k_factor_rf=2"),
        *("nprobe=4;k_factor_rf=3", "nprobe=4,k_factor_rf=0", "efSearch=0", "nprob=3"),
    ],
)
def test_refused_when_the_gallery_opens(world: World, parameters: str) -> None:
    with pytest.raises(UsageError, match="`parameters`"):
        Gallery(world.gallery, parameters=parameters)


@pytest.mark.parametrize(
    "parameters",
    ["", "nprobe=1", "nprobe=16.0, k_factor_rf=1.5", "nprobe=1e9", "ht=0", "max_codes=0"],
)
def test_accepted(parameters: str) -> None:
    assert parameters_problem(parameters, 1000) == ""
