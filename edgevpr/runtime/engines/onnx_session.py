"""Sessions of ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

from edgevpr.errors import ArtifactVersionError
from edgevpr.optional import require


def onnx_session(data: bytes, model: Path, threads: int, *, spin: bool = True) -> Any:
    """An ``InferenceSession`` on the CPU for the content of a checked graph.

    Args:
        model: where it is from, for messages.
        threads: of one inference; 0: one per core.
        spin: its threads wait for the next inference busily: they would take the cores from other
            sessions of the same network.

    Raises:
        ArtifactVersionError: the installed ONNX Runtime does not know the graph's operators.
    """
    ort = require("onnxruntime", extra="compile")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each failure
        first = str(error).strip().splitlines()[0]
        raise ArtifactVersionError(
            f"found {model}, which ONNX Runtime {ort.__version__} cannot load ({first}), "
            "expected a graph that it knows: run pip install --upgrade onnxruntime, or "
            "edgevpr compile MODEL again on this machine"
        ) from error


def onnx_device(threads: int) -> str:
    """ONNX Runtime in words, for reports."""
    ort = require("onnxruntime", extra="compile")
    return f"ONNX Runtime {ort.__version__}, CPU, {threads or 'all'} threads"
