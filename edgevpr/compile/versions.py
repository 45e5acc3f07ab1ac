"""Versions of the packages that influence the result of a compilation."""

from importlib.metadata import PackageNotFoundError, version

from edgevpr import __version__

#: Exporters, quantizers and engine builders; numpy and FAISS, which recall is measured with.
PACKAGES = (
    "faiss-cpu",
    "numpy",
    "nvidia-modelopt",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "tensorrt_rtx",
    "timm",
    "torch",
)


def versions() -> dict[str, str]:
    """Versions of edgevpr and of those packages that are installed."""
    found = {"edgevpr": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
