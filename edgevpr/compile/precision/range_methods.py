"""Methods that set INT8 ranges."""

from typing import Literal, get_args

#: By KL divergence, by the largest magnitude, or by the 99.999th percentile.
Method = Literal["entropy", "max", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)


def usual_method(runtime: str) -> Method:
    """The method of a target by default: percentile for ONNX Runtime, entropy for TensorRT."""
    return "percentile" if runtime == "onnxruntime" else "entropy"
