"""What a device must not need."""

import subprocess
import sys

BLOCKED = (
    "torch", "torchvision", "timm", "lightning", "onnx", "modelopt", "tensorrt", "tensorrt_rtx",
    "pycuda", "sklearn", "scipy", "matplotlib", "rich", "jinja2", "safetensors", "PIL", "gi",
    "rosbags", "mcap", "serial", "rclpy",
)  # fmt: skip
HEAVY = ("cv2", "faiss", "onnxruntime")

PROGRAM = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
import edgevpr.runtime
for module in pkgutil.walk_packages(edgevpr.runtime.__path__, "edgevpr.runtime."):
    importlib.import_module(module.name)
import edgevpr.cli.run
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(" ".join(sorted(loaded & set({watched!r}))))
"""


def run_blocking(blocked: tuple[str, ...], watched: tuple[str, ...]) -> str:
    program = PROGRAM.format(blocked=blocked, watched=watched)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_runtime_imports_without_training_and_compiling() -> None:
    """Would catch an import of torch, onnx, a compiler or scikit-learn creeping into the device
    side, directly or through a core module."""
    assert run_blocking(BLOCKED, BLOCKED) == ""


def test_runtime_imports_nothing_heavy() -> None:
    """Would catch OpenCV, FAISS or ONNX Runtime loading before they are used."""
    assert run_blocking(BLOCKED + HEAVY, HEAVY) == ""
