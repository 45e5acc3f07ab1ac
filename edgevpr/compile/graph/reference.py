"""Reference descriptors: graphs run in ONNX Runtime on the CPU."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgevpr.compile.graph.explicit_half import explicit_half
from edgevpr.errors import TargetError

#: ONNX Runtime's names of the types that a graph of ours takes.
_TYPES = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}


def session(
    model: onnx.ModelProto, *, threads: int = 0, as_written: bool = False
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime CPU session of a graph.

    Args:
        threads: 0: one per core.
        as_written: run node by node without ONNX Runtime's own fusions, so that every Cast and
            every rounding that a GPU would do is done. FP16 ends are then FP32.

    Raises:
        TargetError: an operator that ONNX Runtime does not implement; named with its node.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait keep the cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = explicit_half(model)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has one class per status code
        reason = " ".join(str(error).split())
        raise TargetError(
            f"found a graph that ONNX Runtime {onnxruntime.__version__} cannot run ({reason}), "
            "expected operators it has: replace that layer and run edgevpr compile MODEL again"
        ) from error


def describe(
    model: onnx.ModelProto, images: NDArray[Any], *, as_written: bool = False
) -> NDArray[np.float32]:
    """(n, H, W, 3) uint8 -> (n, D) float32 descriptors, on the CPU.

    Of a part of a network: (n, ...) states or tokens -> what the part makes of them, (n, ...).
    """
    runner = session(model, as_written=as_written)
    source = runner.get_inputs()[0]
    feed = images.astype(_TYPES[source.type], copy=False)
    rows = [runner.run(None, {source.name: feed[i : i + 1]})[0][0] for i in range(len(feed))]
    return np.asarray(rows, np.float32)


def activation_peaks(model: onnx.ModelProto, images: NDArray[Any]) -> dict[str, float]:
    """Largest magnitude of every floating-point tensor that a node puts out, over some images.

    One image at a time, so that memory is that of one image's activations.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    types = {v.name: v for v in [*model.graph.value_info, *model.graph.output]}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    for node in model.graph.node:
        watched.graph.output.extend(
            types[name]
            for name in node.output
            if name in types and types[name].type.tensor_type.elem_type in floats
        )
    runner = session(watched, as_written=True)
    names = [output.name for output in runner.get_outputs()]
    feed = runner.get_inputs()[0].name
    peaks = dict.fromkeys(names, 0.0)
    for i in range(len(images)):
        for name, values in zip(names, runner.run(None, {feed: images[i : i + 1]}), strict=True):
            peaks[name] = max(peaks[name], float(np.abs(values).max(initial=0)))
    return peaks
