"""NVIDIA GPUs of this machine, read from libcuda by ctypes: no package, no CUDA context."""

import ctypes

import msgspec

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_ERRORS = {35: "its driver is older than the CUDA asked for", 100: "no GPU is visible to it"}


class Gpu(msgspec.Struct, frozen=True):
    """One GPU as the driver describes it."""

    name: str
    #: compute capability times ten, 87 for sm_87.
    sm: int
    memory_gb: float
    memory_bytes: int = 0


def find_gpus() -> tuple[list[Gpu], str]:
    """The GPUs of this machine, and a phrase with the reason where there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], "no NVIDIA driver (libcuda.so.1) is installed"
    if status := cuda.cuInit(0):
        reason = _ERRORS.get(status, f"CUDA error {status}")
        return [], f"the NVIDIA driver does not start: {reason}"
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    gpus = [_describe(cuda, i) for i in range(count.value)]
    return gpus, "" if gpus else "the NVIDIA driver sees no GPU"


def _describe(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=10 * major.value + minor.value,
        memory_gb=round(memory.value / 1e9, 1),
        memory_bytes=memory.value,
    )
