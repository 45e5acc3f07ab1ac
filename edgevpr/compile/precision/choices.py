"""Names that a user chooses from: precisions, methods that set INT8 ranges, layouts of exits."""

from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8"]
#: A precision, or "auto": found by search, see ``edgevpr.compile.auto``.
PrecisionOrAuto = Literal["fp32", "fp16", "int8", "auto"]

#: By KL divergence, by the largest magnitude, or by the 99.999th percentile.
Method = Literal["entropy", "max", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)


#: Early exits of a network in its bundle: through graphs that they share, each as one graph of its
#: own, or not at all.
Exits = Literal["together", "separate", "none"]
EXITS: tuple[Exits, ...] = get_args(Exits)


def usual_method(runtime: str) -> Method:
    """The method of a target by default: percentile for ONNX Runtime, entropy for TensorRT."""
    return "percentile" if runtime == "onnxruntime" else "entropy"
