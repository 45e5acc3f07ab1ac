"""Names that a user chooses from: precisions of a graph, and methods that set INT8 ranges."""

from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8"]
#: A precision, or "auto": found by search, see ``edgevpr.compile.auto``.
PrecisionOrAuto = Literal["fp32", "fp16", "int8", "auto"]

#: By KL divergence, by the largest magnitude, or by the 99.999th percentile.
Method = Literal["entropy", "max", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)


def usual_method(runtime: str) -> Method:
    """The method of a target by default: percentile for ONNX Runtime, entropy for TensorRT."""
    return "percentile" if runtime == "onnxruntime" else "entropy"
