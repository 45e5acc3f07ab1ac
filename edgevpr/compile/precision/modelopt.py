"""Typing and quantization of graphs by NVIDIA's modelopt, with its side effects undone.

modelopt replaces parts of ONNX Runtime's quantizer and leaves them so: afterwards its own
``quantize_static`` fails in the same process ("Histogram has not been collected"). Compiling for a
GPU first and for the CPU next must not depend on the order.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.graph.signature import name_nodes, tensor_ends
from edgevpr.compile.precision.choices import Method
from edgevpr.errors import NumericsError
from edgevpr.files import scratch
from edgevpr.quiet import quiet


def quantize_gpu(
    model: onnx.ModelProto,
    images: NDArray[Any],
    layers: list[str],
    *,
    method: Method | None = None,
) -> onnx.ModelProto:
    """Q/DQ around these nodes in an FP32 graph, as modelopt's quantizer leaves it.

    Args:
        images: (n, H, W, 3) uint8 calibration images; of a part, (n, ...) float32 states.
        layers: names of Conv, MatMul, Gemm and Add nodes.
    """
    ends = tensor_ends(model)
    with scratch("edgevpr-int8-") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, str(source))
        with quiet(), unpatched(), _ranges_by(method or "entropy") as known:
            from modelopt.onnx.quantization import quantize

            quantize(
                str(source),
                calibration_data={ends.input: images},
                calibration_method=known,
                calibration_shapes=f"{ends.input}:{'x'.join(map(str, ends.input_shape))}",
                calibration_eps=["cpu"],
                nodes_to_quantize=[_exactly(name) for name in layers],
                high_precision_dtype="fp32",
                output_path=str(target),
                log_level="ERROR",
            )
        return onnx.load(str(target))


@contextlib.contextmanager
def _ranges_by(method: Method) -> Iterator[str]:
    """modelopt's name of a method. It offers two of the three that the code it calls has: for the
    third, "entropy" stands for percentile while the block runs.
    """
    if method != "percentile":
        yield method
        return
    from modelopt.onnx.quantization import int8
    from onnxruntime.quantization import CalibrationMethod

    before = int8.CalibrationMethod
    int8.CalibrationMethod = SimpleNamespace(
        Entropy=CalibrationMethod.Percentile, MinMax=CalibrationMethod.MinMax
    )
    try:
        yield "entropy"
    finally:
        int8.CalibrationMethod = before


def autocast(model: onnx.ModelProto, kept: dict[str, str]) -> onnx.ModelProto:
    """The graph in FP16 but for the nodes ``kept``; its ends keep their types.

    Raises:
        NumericsError: a weight is beyond FP16's range.
    """
    with scratch("edgevpr-fp16-") as folder:
        source = Path(folder, "model.onnx")
        onnx.save(model, str(source))
        with quiet():
            from modelopt.onnx.autocast import convert_to_mixed_precision

            typed = convert_to_mixed_precision(
                str(source),
                low_precision_type="fp16",
                nodes_to_exclude=[_exactly(name) for name in kept],
                # Infinity: it need not run the network, kept_in_fp32 has.
                data_max=np.inf,
                keep_io_types=True,
                providers=["cpu"],
            )
    typed = onnx.shape_inference.infer_shapes(name_nodes(typed))
    _check_half_weights(typed)
    return typed


def _check_half_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            bad = int((~np.isfinite(onnx.numpy_helper.to_array(tensor))).sum())
            if bad:
                raise NumericsError(
                    f"found {bad} values of weight {tensor.name!r} beyond FP16's range, expected "
                    "none: run edgevpr compile MODEL --precision fp32"
                )


def _exactly(name: str) -> str:
    return f"^{re.escape(name)}$"


@contextlib.contextmanager
def unpatched(package: str = "onnxruntime.quantization") -> Iterator[None]:
    """Put back every attribute of the package's modules and classes that the block replaced."""
    __import__(package)
    saved = [(owner, dict(vars(owner))) for owner in _owners(package)]
    try:
        yield
    finally:
        for owner, before in saved:
            for name, value in before.items():
                if vars(owner).get(name) is not value and not name.startswith("__weakref"):
                    setattr(owner, name, value)


def _owners(package: str) -> list[Any]:
    """The loaded modules of a package and the classes they define."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__.startswith(package)
    }
    return [*modules, *sorted(classes, key=lambda c: (c.__module__, c.__qualname__))]
