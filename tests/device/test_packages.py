"""Installed packages from metadata, and whether given versions fit."""

import pytest

from edgevpr.device.board import Board
from edgevpr.device.packages import judge_pairing, judge_tensorrt, missing, packages, satisfies

ORIN = Board("Orin", [], "jetson-orin-nano-8gb", "36.4.3", "6.1", "10.3", "12.6", "", {})


@pytest.mark.parametrize(
    ("version", "range_", "inside"),
    [
        ("1.21.0", ">=1.19,<1.22", True),
        ("1.22.0", ">=1.19,<1.22", False),
        ("1.22", "<1.22", False),
        ("2.15.0+cpu", ">=2.8", True),
        ("2.7.1", ">=2.8", False),
        ("5.0.0.93", ">=4.9", True),
        ("11.3.0", "!=8.3.*,>=5.3.0", True),
        ("1.7.1.116", "", True),
        ("2.0rc1", ">=2.0", True),
    ],
)
def test_version_ranges(version: str, range_: str, inside: bool) -> None:
    """Versions are compared as numbers: 1.9 is older than 1.22."""
    assert satisfies(version, range_) is inside


def test_requirements_are_sorted_into_extras() -> None:
    """Requirements of an extra and of the bare install are kept apart."""
    found = packages(
        [
            "numpy>=1.26",
            "not-a-package-anywhere>=2; extra == 'compile'",
            "numpy>=99; extra == 'train'",
            "numpy>=1; extra == 'demo'",
            "tomli>=2; python_version < '3.0'",
            "edgevpr[train]; extra == 'demo'",
        ]
    )
    assert [(p.extra, p.name, p.ok) for p in found] == [
        ("", "numpy", True),
        ("compile", "not-a-package-anywhere", False),
        ("train", "numpy", False),
    ]
    assert [p.name for p in missing(found, "compile", "train")] == [
        "not-a-package-anywhere",
        "numpy",
    ]


def test_own_metadata_is_understood() -> None:
    found = {p.name: p for p in packages()}
    assert found["onnxruntime"].extra == ""
    assert found["torch"].extra == "train"
    assert found["numpy"].version is not None


@pytest.mark.parametrize(
    ("torch", "vision", "requires", "wrong"),
    [
        ("2.15.0", "0.29.2", ["numpy", "torch (>=2.14.0)"], False),
        ("2.15.0+cpu", "0.29.2", ["torch (>=2.14.0)"], True),
        ("2.15.0+cpu", "0.29.2+cpu", ["torch (>=2.14.0)"], False),
        ("2.7.0", "0.29.2", ["torch (>=2.14.0)"], True),
        ("2.8.0", "0.22.0", ["torch==2.7.0"], True),
    ],
)
def test_torch_and_torchvision_pair(
    torch: str, vision: str, requires: list[str], wrong: bool
) -> None:
    """Such a pair fails at import with "operator torchvision::nms does not exist"."""
    sentence = judge_pairing(torch, vision, requires)
    assert bool(sentence) is wrong
    if wrong:
        assert "pip install" in sentence


def test_pip_tensorrt_on_a_jetson_is_a_problem() -> None:
    """pip's copy, which ends in CUDA error 35, is reported with its removal."""
    system = "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py"
    pip = "/home/robot/.venv/lib/python3.10/site-packages/tensorrt/__init__.py"
    good = judge_tensorrt("10.3.0", system, ORIN)
    assert good.from_system
    assert good.problem == ""
    shadow = judge_tensorrt("10.13.0", pip, ORIN)
    assert not shadow.from_system
    assert "pip uninstall" in shadow.problem
    assert "python3-libnvinfer" in judge_tensorrt("", "", ORIN).problem
    assert judge_tensorrt("10.13.0", pip, None).problem == ""  # a PC: pip is the way
