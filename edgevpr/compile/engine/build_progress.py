"""Progress bar of a TensorRT build, from release 10 on, which Ctrl-C stops."""

import functools
import queue
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from edgevpr.progress import Track


def build_with_progress(
    trt: ModuleType, builder: Any, network: Any, config: Any, description: str, track: Track
) -> Any:
    """Build in a second thread while this one draws TensorRT's own steps; Ctrl-C stops both."""
    events: queue.Queue[int | None] = queue.Queue()
    monitor = _monitor(trt)(events)
    config.progress_monitor = monitor
    result: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(builder.build_serialized_network(network, config))
        except BaseException as error:
            failure.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=work, name="tensorrt-build", daemon=True)
    thread.start()
    try:
        total = events.get()
        for _ in track(_steps(events, total), description, total):
            pass
    finally:
        monitor.cancelled = True
        thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _steps(events: "queue.Queue[int | None]", total: int | None) -> Iterator[int]:
    """Outer steps as they end, then those that TensorRT did not report, up to ``total``."""
    done = 0
    while total is not None and events.get() is not None:
        yield (done := done + 1)
    yield from range(done, total or 0)


@functools.cache
def _monitor(trt: ModuleType) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        """Reports the outermost phase: its number of steps first, then each step."""

        def __init__(self, events: "queue.Queue[int | None]") -> None:
            trt.IProgressMonitor.__init__(self)
            self.events, self.outer, self.cancelled = events, "", False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None and not self.outer:
                self.outer = phase_name
                self.events.put(num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self.outer:
                self.events.put(step)
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor
