"""Impossible builds are refused before work, with what would work."""

import pytest

from edgevpr.compile.engine.compatibility import (
    check_dla,
    check_precision,
    check_release,
    check_target,
)
from edgevpr.device.targets import all_targets, load_target
from edgevpr.errors import TargetError


@pytest.mark.parametrize(
    ("version", "sm", "works"),
    [
        ("10.13.3.9", 87, r"JetPack 6\.2 brings 10\.3, JetPack 7\.2 brings 10\.16"),
        ("10.3.0", 72, r"JetPack 5\.1, the last for Xavier, brings 8\.5\.2"),
        ("10.3.0", 110, r"JetPack 7 brings 10\.13 or newer"),
    ],
)
def test_pairs_without_kernels(version: str, sm: int, works: str) -> None:
    with pytest.raises(TargetError, match=rf"TensorRT {version} and sm_{sm}.*{works}"):
        check_release(version, sm)


def test_pairs_that_jetpacks_ship_are_possible() -> None:
    for target in all_targets():
        for version in target.tensorrt.values():
            if target.sm is not None:
                check_release(f"{version}.0" if version.count(".") < 2 else version, target.sm)


@pytest.mark.parametrize(
    ("sm", "precision", "works"),
    [(53, "int8", "fp16"), (62, "int8", "fp16"), (52, "int8", "fp32"), (61, "fp16", "int8")],
)
def test_precisions_old_gpus_lack(sm: int, precision: str, works: str) -> None:
    with pytest.raises(TargetError, match=rf"sm_{sm}.*--precision {works}"):
        check_precision(sm, precision)


def test_precisions_that_every_target_has() -> None:
    """Only FP32 for Turing is refused, before the export."""
    for target in all_targets():
        for precision in ("fp32", "fp16", "int8"):
            if (target.name, precision) != ("rtx-turing", "fp32"):
                check_target(target, precision)
    with pytest.raises(TargetError, match=r"rtx-turing.*--precision fp16, or for rtx-ampere"):
        check_target(load_target("rtx-turing"), "fp32")


@pytest.mark.parametrize(
    ("board", "version"),
    [
        ("jetson-agx-orin-64gb", "8.6.2"),
        ("jetson-orin-nx-16gb", "10.3.0"),
        ("jetson-orin-nx-16gb", "10.7.0"),
        ("jetson-agx-xavier", "8.5.2"),
        ("jetson-agx-orin-32gb", "11.4.1"),
    ],
)
def test_dla_where_there_is_one(board: str, version: str) -> None:
    """DLA is in 8.5 to 10.7, and from 11.4.1 on AGX Orin."""
    check_dla(0, "fp16", board, version)


@pytest.mark.parametrize(
    ("core", "precision", "board", "version", "why"),
    [
        (0, "fp16", "jetson-orin-nano-8gb", "10.3.0", "orin-nano-8gb, which has no DLA"),
        (0, "fp16", "jetson-thor-t5000", "10.13.0", "has no DLA, expected one of jetson-agx"),
        (0, "fp16", "", "10.3.0", "on a machine that is no Jetson"),
        (1, "fp16", "jetson-orin-nx-8gb", "10.3.0", "1 DLA cores, numbered from 0"),
        (0, "fp16", "jetson-agx-orin-64gb", "10.16.2", "8.5 to 10.7, or 11.4.1 on an AGX Orin"),
        (0, "fp16", "jetson-agx-orin-64gb", "11.4.0", "8.5 to 10.7, or 11.4.1 on an AGX Orin"),
        (0, "fp16", "jetson-orin-nx-16gb", "11.4.1", "8.5 to 10.7, or 11.4.1 on an AGX Orin"),
        (0, "fp32", "jetson-agx-orin-64gb", "10.3.0", "FP16 or INT8 only: run edgevpr compile"),
        (0, "int8", "jetson-agx-orin-64gb", "10.3.0", "no INT8 from a graph's own Q/DQ"),
    ],
)
def test_dla_where_there_is_none(
    core: int, precision: str, board: str, version: str, why: str
) -> None:
    with pytest.raises(TargetError, match=why):
        check_dla(core, precision, board, version)
