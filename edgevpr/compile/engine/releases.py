"""Table of TensorRT releases and the flags each is built with.

TensorRT 8 chooses precisions by builder flags and takes layer constraints; 10 takes
strongly typed networks too; 11 and TensorRT-RTX take nothing else. Names were read from the real
bindings of 8.6, 10.3, 10.7, 10.13, 10.16, 11.4 and RTX 1.7.
"""

from dataclasses import dataclass, field

from edgevpr.errors import TargetError

#: Part of a message of TensorRT -> what to do.
ADVICE = {
    "FP32 GEMM is not supported": "run edgevpr compile MODEL --target rtx-ampere, or cuda; this "
    "network keeps matrix products in FP32, which TensorRT-RTX does not multiply on Turing",
}


@dataclass(frozen=True)
class Dialect:
    """Flags of builds with one range of releases."""

    #: "tensorrt" or "tensorrt-rtx".
    runtime: str
    #: first release, and the first one after it with other flags.
    first: tuple[int, int]
    end: tuple[int, int]
    #: which graph of the bundle: "typed" (precision in the graph) or "flags" (FP32 types).
    graph: str
    #: names of NetworkDefinitionCreationFlag.
    network_flags: tuple[str, ...]
    #: precision -> names of BuilderFlag.
    builder_flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: FP32 islands are set layer by layer.
    layer_constraints: bool = False
    #: IProgressMonitor is there.
    progress: bool = True
    #: measured kernels are kept between builds; TensorRT-RTX measures none while building.
    timing_cache: bool = True
    #: builds ahead of time for a GPU that is not there.
    ahead_of_time: bool = False
    #: precision -> arguments of trtexec beside --onnx, --saveEngine and the workspace.
    trtexec: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def versions(self) -> str:
        """For example ``>=10.0,<11.0``."""
        return f">={self.first[0]}.{self.first[1]},<{self.end[0]}.{self.end[1]}"


_OBEY = "OBEY_PRECISION_CONSTRAINTS"
DIALECTS = (
    Dialect(
        "tensorrt", (8, 5), (10, 0), "flags", ("EXPLICIT_BATCH",),
        builder_flags={"fp16": ("FP16", _OBEY), "int8": ("FP16", "INT8", _OBEY)},
        layer_constraints=True,
        progress=False,
        trtexec={
            "fp16": ("--fp16", "--precisionConstraints=obey"),
            "int8": ("--fp16", "--int8", "--precisionConstraints=obey"),
        },
    ),
    Dialect(
        "tensorrt", (10, 0), (11, 0), "typed", ("EXPLICIT_BATCH", "STRONGLY_TYPED"),
        trtexec=dict.fromkeys(("fp32", "fp16", "int8"), ("--stronglyTyped",)),
    ),
    Dialect("tensorrt", (11, 0), (12, 0), "typed", ()),
    Dialect(
        "tensorrt-rtx", (1, 0), (2, 0), "typed", ("STRONGLY_TYPED",),
        timing_cache=False,
        ahead_of_time=True,
    ),
)  # fmt: skip
#: The same for a deep learning accelerator with the GPU for other layers. Release 10 takes
#: networks for it by flags, as release 8 does; see compatibility.py for the releases that have DLA.
_DLA = ("--useDLACore=DLA", "--allowGPUFallback")
DLA_DIALECTS = (
    Dialect(
        "tensorrt", (8, 5), (10, 0), "flags", ("EXPLICIT_BATCH",),
        builder_flags={"fp16": ("FP16", _OBEY, "GPU_FALLBACK")},
        layer_constraints=True,
        progress=False,
        trtexec={"fp16": ("--fp16", "--precisionConstraints=obey", *_DLA)},
    ),
    Dialect(
        "tensorrt", (10, 0), (11, 0), "flags", ("EXPLICIT_BATCH",),
        builder_flags={"fp16": ("FP16", _OBEY, "GPU_FALLBACK")},
        layer_constraints=True,
        trtexec={"fp16": ("--fp16", "--precisionConstraints=obey", *_DLA)},
    ),
    Dialect(
        "tensorrt", (11, 0), (12, 0), "typed", (),
        builder_flags={"fp16": ("GPU_FALLBACK",)},
        trtexec={"fp16": _DLA},
    ),
)  # fmt: skip


def dialect_of(runtime: str, version: str, *, dla: bool = False) -> Dialect:
    """The dialect of an installed release, for example ("tensorrt", "10.3.0").

    Args:
        dla: for a deep learning accelerator.

    Raises:
        TargetError: a release that is not in the table.
    """
    found = release(version)
    for dialect in DLA_DIALECTS if dla else DIALECTS:
        if dialect.runtime == runtime and dialect.first <= found < dialect.end:
            return dialect
    known = ", ".join(d.versions for d in DIALECTS if d.runtime == runtime)
    raise TargetError(
        f"found {runtime} {version}, expected one of {known}: install one of those, or a newer "
        "edgevpr"
    )


def advice(message: str) -> str:
    """The next step after a message of TensorRT's."""
    known = (text for sign, text in ADVICE.items() if sign in message)
    return next(known, "run edgevpr compile MODEL with another --precision or --target")


def release(version: str) -> tuple[int, int]:
    """``10.3.0.26`` -> ``(10, 3)``."""
    numbers = version.split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        raise TargetError(
            f"found the version {version!r} of TensorRT, expected for example 10.3.0: install it "
            "again"
        ) from None
