"""CUDA graphs: a stream's work recorded once and launched as one, through the CUDA driver.

An engine of a small network is a hundred launches of a few microseconds each; as a graph they are
one. pycuda has no graphs (its pull request 343 is open since 2022), so these five functions of the
driver are called by ctypes, with pycuda's stream handles. They exist since CUDA 11.4 (JetPack 5).
"""

import ctypes
from collections.abc import Callable
from typing import Any

#: CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: another engine may allocate in its thread meanwhile.
_THREAD_LOCAL = 1


class CudaGraph:
    """Recorded work; made by ``record``, launched by the thread that made it."""

    def __init__(self, driver: Any, graph: ctypes.c_void_p, launchable: ctypes.c_void_p) -> None:
        self._driver, self._graph, self._launchable = driver, graph, launchable

    def launch(self, stream: int) -> bool:
        """Enqueue all of it; False when the driver refuses."""
        status = self._driver.cuGraphLaunch(self._launchable, ctypes.c_void_p(stream))
        return bool(status == 0)

    def close(self) -> None:
        """Free it; its CUDA context must be current."""
        self._driver.cuGraphExecDestroy(self._launchable)
        self._driver.cuGraphDestroy(self._graph)


def record(stream: int, enqueue: Callable[[], bool]) -> CudaGraph | None:
    """Record what ``enqueue`` puts on the stream, which is not executed.

    Whatever was loaded lazily must have been loaded: enqueue the same work once before. None
    where the driver is too old, or where the work cannot be recorded (a layer that waits for the
    GPU, a loop in the network); the stream is then as it was before.

    Args:
        stream: handle of a stream that is not the default one.
        enqueue: says whether all went well.
    """
    try:
        driver = load_driver()
        begin, end = driver.cuStreamBeginCapture_v2, driver.cuStreamEndCapture
        instantiate = driver.cuGraphInstantiateWithFlags
    except (OSError, AttributeError):
        return None
    handle, graph, launchable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
    if begin(handle, _THREAD_LOCAL) != 0:
        return None
    enqueued = False
    try:
        enqueued = enqueue()
    except Exception:  # pycuda's error for a call that must not be recorded
        enqueued = False
    finally:
        # Always: a stream left recording executes nothing more.
        ended = end(handle, ctypes.byref(graph)) == 0
    if not ended:
        return None
    if not enqueued or instantiate(ctypes.byref(launchable), graph, ctypes.c_ulonglong(0)) != 0:
        driver.cuGraphDestroy(graph)
        return None
    return CudaGraph(driver, graph, launchable)


def load_driver() -> Any:
    """The driver's library, that pycuda has loaded before."""
    return ctypes.CDLL("libcuda.so.1")
