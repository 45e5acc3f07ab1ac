"""Device profiles: every file loads and is consistent."""

import itertools
from importlib import resources

import pytest

from edgevpr.device.targets import Target, all_targets, family, jetpack_of, jetpacks, load_target
from edgevpr.errors import UnknownTargetError

FAMILIES = {
    "cpu", "cuda", "rtx-turing", "rtx-ampere", "rtx-ada", "rtx-blackwell",
    "jetson-orin", "jetson-thor", "jetson-xavier",
}  # fmt: skip
BOARDS = {
    "jetson-agx-orin-64gb", "jetson-agx-orin-32gb", "jetson-orin-nx-16gb", "jetson-orin-nx-8gb",
    "jetson-orin-nano-8gb", "jetson-orin-nano-4gb", "jetson-thor-t5000", "jetson-agx-xavier",
    "jetson-xavier-nx",
}  # fmt: skip


def test_every_profile_loads_and_is_listed() -> None:
    assert {t.name for t in all_targets() if not t.is_board} == FAMILIES
    assert {t.name for t in all_targets() if t.is_board} == BOARDS
    files = (resources.files("edgevpr") / "profiles" / "devices").iterdir()
    assert {f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")} == (
        FAMILIES | BOARDS
    )


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_profile_is_consistent(target: Target) -> None:
    """Every board has the facts that impossible builds are refused by."""
    fields = set(Target.__struct_fields__)
    for name in target.unverified:
        assert name.split()[0] in fields, f"{name} is no field"
    if target.runtime == "tensorrt-rtx":
        assert target.sm is not None
    if target.is_jetson:
        assert target.sm is not None
        assert target.runtime == "tensorrt"
        assert target.tensorrt
    if target.is_board:
        assert load_target(target.family).sm == target.sm
        assert target.memory_gb
        assert target.bandwidth_gbs
        assert target.sources
    else:
        assert not target.part_numbers


def test_boards_inherit_from_their_family() -> None:
    """A board has its family's runtime and not its family's remarks."""
    nano, orin = load_target("jetson-orin-nano-8gb"), load_target("jetson-orin")
    assert (nano.runtime, nano.sm, nano.tensorrt) == (orin.runtime, orin.sm, orin.tensorrt)
    assert not set(orin.notes) & set(nano.notes)
    assert {t.name for t in family("jetson-orin")} == {b for b in BOARDS if "orin" in b}


def test_facts_that_cost_a_board_if_wrong() -> None:
    """DLA, TensorRT by JetPack and power modes, as NVIDIA documents them."""
    assert load_target("jetson-orin-nano-8gb").dla == 0
    assert load_target("jetson-agx-orin-64gb").dla == 2
    assert load_target("jetson-orin-nano-8gb").power_modes["0"] == "15W"  # 0 is not the fastest
    orin = load_target("jetson-orin").tensorrt
    assert orin == {"5.1": "8.5.2", "6.0": "8.6.2", "6.1": "10.3", "7.2": "10.16.2"}
    assert "10.13" not in orin.values()  # has no sm_87
    assert load_target("jetson-xavier").tensorrt == {"5.1": "8.5.2"}
    assert load_target("jetson-thor").sm == 110
    assert [load_target(f"rtx-{n}").sm for n in ("turing", "ampere", "ada", "blackwell")] == [
        75, 86, 89, 120,
    ]  # fmt: skip


def test_what_was_not_read_anywhere_is_marked() -> None:
    """Every such figure is in ``unverified``."""
    assert "dla" in load_target("jetson-orin-nx-16gb").unverified
    assert "gpu_mhz" in load_target("jetson-orin-nx-8gb").unverified
    assert "tensorrt 7.0" in load_target("jetson-thor").unverified
    assert load_target("jetson-agx-orin-64gb").unverified == []


def test_part_numbers_name_one_board_each() -> None:
    """A part number in two profiles would be resolved by file order."""
    parts = [part for target in all_targets() for part in target.part_numbers]
    assert len(parts) == len(set(parts))


def test_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTargetError) as caught:
        load_target("jetson-orin-nan")
    message = str(caught.value)
    assert "did you mean jetson-orin-nano" in message
    assert all(name in message for name in FAMILIES | BOARDS)
    assert "edgevpr devices" in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("35.2.1", "5.1"),
        ("35.6.4", "5.1"),
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.1"),
        ("36.5.0", "6.1"),
        ("38.2", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
    ],
)
def test_l4t_release_gives_the_jetpack(l4t: str, jetpack: str) -> None:
    """Releases at the edges of a range belong to it."""
    found = jetpack_of(l4t)
    assert found is not None
    assert found.name == jetpack


@pytest.mark.parametrize("l4t", ["32.7.1", "36.2", "36.5.1", "40.0"])
def test_unknown_l4t_release_is_not_guessed(l4t: str) -> None:
    assert jetpack_of(l4t) is None


def test_jetpack_ranges_do_not_overlap() -> None:
    bounds = [[tuple(map(int, text.split("."))) for text in row.l4t] for row in jetpacks()]
    assert all(low <= high for low, high in bounds)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(bounds))
