"""Buffers that an engine reads or writes, allocated once."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike


class Buffer:
    """Pinned host memory with its GPU side: a copy of it, or on a Jetson the memory itself.

    A Jetson's CPU and GPU share one memory; what is mapped there needs no copy at all.

    Args:
        cuda: ``pycuda.driver``.
        mapped: the GPU is integrated and can map host memory.
    """

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: DTypeLike, mapped: bool) -> None:
        self._cuda = cuda
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        self.host: np.ndarray[Any, Any] = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._gpu: Any = None if mapped else cuda.mem_alloc(self.host.nbytes)
        base: Any = self.host.base
        where: Any = base.get_device_pointer() if mapped else self._gpu
        #: for the engine.
        self.address = int(where)

    def to_gpu(self, stream: Any) -> None:
        if self._gpu is not None:
            self._cuda.memcpy_htod_async(self._gpu, self.host, stream)

    def to_host(self, stream: Any) -> None:
        if self._gpu is not None:
            self._cuda.memcpy_dtoh_async(self.host, self._gpu, stream)


def is_integrated(cuda: Any, gpu: Any) -> bool:
    """Whether CPU and GPU share one memory that can be mapped."""
    names = cuda.device_attribute
    return bool(
        gpu.get_attribute(names.INTEGRATED) and gpu.get_attribute(names.CAN_MAP_HOST_MEMORY)
    )
