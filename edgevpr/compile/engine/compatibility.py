"""Checks of what a GPU, a TensorRT release and a DLA can build, made before any work."""

from edgevpr.compile.engine.releases import release
from edgevpr.device.targets import Target, all_targets, load_target
from edgevpr.errors import TargetError

#: (release, compute capability) without kernels for each other -> releases that have them.
IMPOSSIBLE = {
    ((10, 13), 87): "TensorRT 10.13 has no sm_87; JetPack 6.2 brings 10.3, JetPack 7.2 brings 10.16"
}
#: Compute capability -> first release with it, first one without it again, JetPack that works.
RANGES: dict[int, tuple[tuple[int, int], tuple[int, int], str]] = {
    72: ((8, 0), (9, 0), "JetPack 5.1, the last for Xavier, brings 8.5.2"),
    110: ((10, 13), (99, 0), "JetPack 7 brings 10.13 or newer"),
}
#: Releases with DLA: first, first after. NVIDIA's own notes: 10.7 was the last of 10, 11.4.1 has it
#: again, on AGX Orin alone.
DLA_RELEASES = (((8, 5), (10, 8)), ((11, 4), (12, 0)))
DLA_AGAIN = (11, 4, 1)
DLA_AGAIN_BOARDS = ("jetson-agx-orin-64gb", "jetson-agx-orin-32gb")


def check_release(version: str, sm: int) -> None:
    """Raise TargetError for a release that cannot build for this compute capability."""
    found = release(version)
    reason = IMPOSSIBLE.get((found, sm))
    first, end, works = RANGES.get(sm, ((0, 0), (99, 0), ""))
    if not first <= found < end:
        reason = f"{works} for sm_{sm}"
    if reason:
        raise TargetError(
            f"found TensorRT {version} and sm_{sm}, expected a pair that can be built: install "
            f"another release ({reason})"
        )


def check_precision(sm: int, precision: str) -> None:
    """Raise TargetError where the GPU cannot compute in this precision.

    Source: the hardware precision table of TensorRT's support matrix.
    """
    if precision == "int8" and (sm < 61 or sm == 62):
        better = "fp16" if sm in (53, 60, 62) else "fp32"
        raise TargetError(
            f"found precision int8 for sm_{sm}, expected sm_61 or newer, not sm_62, which multiply "
            f"INT8: run edgevpr compile MODEL --precision {better}"
        )
    if precision == "fp16" and (sm < 53 or sm == 61):
        raise TargetError(
            f"found precision fp16 for sm_{sm}, expected a GPU with fast FP16: run edgevpr compile "
            f"MODEL --precision {'int8 or fp32' if sm == 61 else 'fp32'}"
        )


def check_target(target: Target, precision: str) -> None:
    """Raise TargetError where no GPU of a target computes in this precision."""
    if target.sm is None:
        return
    check_precision(target.sm, precision)
    if (target.runtime, target.sm, precision) == ("tensorrt-rtx", 75, "fp32"):
        raise TargetError(
            f"found precision fp32 for {target.name}, expected one whose matrices TensorRT-RTX "
            "multiplies there: run edgevpr compile MODEL --precision fp16, or for rtx-ampere or "
            "newer"
        )


def check_dla(core: int, precision: str, board: str, version: str) -> None:
    """Raise TargetError where this DLA core cannot be built for.

    Args:
        core: 0 or 1.
        board: device profile or family; '' on anything but a Jetson.
        version: of TensorRT; the empty string leaves out checks that depend on it.
    """
    there = load_target(board).dla if board else 0
    # A family's profile gives its smallest board's; the builder asks the board itself.
    family = bool(board) and not load_target(board).is_board
    if core >= there and not family:
        with_dla = ", ".join(t.name for t in all_targets() if t.is_board and t.dla > core)
        raise TargetError(
            f"found `dla` {core} on {board or 'a machine that is no Jetson'}, which has "
            f"{f'{there} DLA cores, numbered from 0' if there else 'no DLA'}, expected one of "
            f"{with_dla}: leave out `dla` to use the GPU"
        )
    if precision != "fp16":
        why = (
            "DLA computes in FP16 or INT8 only"
            if precision == "fp32"
            else "DLA takes no INT8 from a graph's own Q/DQ nodes"
        )
        raise TargetError(
            f"found a bundle in {precision} for `dla` {core}, expected fp16, since {why}: run "
            "edgevpr compile MODEL --precision fp16"
        )
    if version:
        _check_dla_release(core, board, version)


def _check_dla_release(core: int, board: str, version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    ranges = any(first <= release(version) < end for first, end in DLA_RELEASES)
    again = numbers >= (11,) and (numbers < DLA_AGAIN or board not in DLA_AGAIN_BOARDS)
    if not ranges or again:
        raise TargetError(
            f"found `dla` {core} with TensorRT {version} on {board}, expected TensorRT 8.5 to "
            "10.7, or 11.4.1 on an AGX Orin: install JetPack 6.2, which brings 10.3, or leave out "
            "`dla` to use the GPU"
        )
