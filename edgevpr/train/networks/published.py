"""Published gallery networks: their architectures, and their checkpoints as model artifacts."""

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from edgevpr.artifacts.manifest import sha256_file
from edgevpr.errors import DataError, UsageError
from edgevpr.files import cache_folder
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.checkpoint import read_checkpoint
from edgevpr.train.networks.model import save_model
from edgevpr.train.networks.network import Network, parameters_m

#: Aggregator arguments with which the published networks, and query networks for them, are built.
BOQ_12288 = {"proj_channels": 384, "num_queries": 64, "num_layers": 2, "row_dim": 32}
SALAD_8448 = {"num_clusters": 64, "cluster_dim": 128, "token_dim": 256}


#: Both were trained at 224 and are evaluated at 322 px. Their code resizes with torchvision's
#: antialiased filters, which OpenCV's area filter is closest to when it shrinks an image.
PREPROCESS = Preprocess(322, 322, interpolation="area")


@dataclass(frozen=True)
class Published:
    """A gallery network whose weights its authors publish."""

    architecture: Architecture
    url: str
    sha256: str
    paper: str


PUBLISHED = {
    "boq-dinov2": Published(
        Architecture("dinov2_vitb14", aggregator="boq", aggregator_args=BOQ_12288),
        "https://github.com/amaralibey/Bag-of-Queries/releases/download/v1.0/dinov2_12288.pth",
        "d72ee0ce899e2790be6cf6d1d57f75dfad0c76475bd2198e6dc0c3f0221b3583",
        "Ali-bey, Chaib-draa and Giguere, CVPR 2024",
    ),
    "salad-dinov2": Published(
        Architecture("dinov2_vitb14", aggregator="salad", aggregator_args=SALAD_8448),
        "https://github.com/serizba/salad/releases/download/v1.0.0/dino_salad.ckpt",
        "6b3f1720954293e83da6966c5cfcfc6713200d7fefadcca76fc51aeb80b3cada",
        "Izquierdo and Civera, CVPR 2024",
    ),
}

#: The query networks of the paper's Table 2, and its gallery networks.
TABLE_2 = {
    f"{backbone}+{aggregator}": Architecture(backbone, aggregator=aggregator, aggregator_args=args)
    for backbone in ("efficientvit_b2", "mobilevitv2_100", "dinov2_vitb14")
    for aggregator, args in (("salad", SALAD_8448), ("boq", BOQ_12288))
}


def import_published(
    name: str,
    out: Path,
    *,
    weights: Path | None = None,
    sha256: str | None = None,
    track: Track = silent,
) -> float:
    """Write a published gallery network as a model artifact; returns its millions of parameters.

    Args:
        name: of ``PUBLISHED``.
        weights: the published file, when it is on disk already; any digest is taken then, unless
            ``sha256`` demands one.
        sha256: expected digest of the file; by default the one known for the URL.

    Raises:
        UsageError: no such network.
        DataError: no network connection, another digest, or another network's weights.
    """
    if name not in PUBLISHED:
        raise UsageError(f"unknown gallery network {name!r}; known: {', '.join(PUBLISHED)}")
    about = PUBLISHED[name]
    if weights is None:
        expected = sha256 or about.sha256
        weights = _downloaded(about.url, expected, track)
    elif sha256 is not None:
        _check_digest(weights, sha256)
    size = (PREPROCESS.height, PREPROCESS.width)
    network = Network(about.architecture, size)
    _fill(network, read_checkpoint(weights), weights, name)
    save_model(
        out,
        network,
        role="gallery",
        preprocess=PREPROCESS,
        training={"published": name, "url": about.url, "sha256": sha256_file(weights)},
        config={"gallery": name, "weights": str(weights)},
    )
    return parameters_m(network)


def _fill(network: Network, state: dict[str, Tensor], path: Path, name: str) -> None:
    own = network.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or shapes:
        first = (missing + extra + shapes)[0]
        raise DataError(
            f"{path} is not {name}: {len(missing)} tensors missing, {len(extra)} unknown, "
            f"{len(shapes)} of another shape ({first}); pass the file of that network"
        )
    network.load_state_dict(state)


def _downloaded(url: str, expected: str, track: Track) -> Path:
    """The file of a URL from the cache, fetched first where it is not there."""
    path = cache_folder() / url.rpartition("/")[2]
    if path.is_file():
        _check_digest(path, expected)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=30) as source, partial.open("wb") as out:
            length = int(source.headers.get("Content-Length") or 0)
            block = 1 << 20
            for _ in track(range(-(-length // block) or 1 << 20), f"fetching {path.name}"):
                if not (data := source.read(block)):
                    break
                digest.update(data)
                out.write(data)
        if digest.hexdigest() != expected:
            raise DataError(
                f"{url} has SHA-256 {digest.hexdigest()}, expected {expected}: the file was "
                "replaced or damaged on its way; check its source, then pass --sha256"
            )
        partial.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"{url} could not be fetched ({error}); fetch it on a connected machine and pass it "
            f"with --weights, or put it at {path}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _check_digest(path: Path, expected: str) -> None:
    found = sha256_file(path)
    if found != expected.lower():
        raise DataError(
            f"{path} has SHA-256 {found}, expected {expected}: remove it to fetch it again, or "
            "pass --sha256 with the digest you trust"
        )
