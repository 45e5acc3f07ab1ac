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
from edgevpr.guard import keeps_inputs
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


@keeps_inputs("out")
def import_published(
    published: str,
    out: Path,
    *,
    checkpoint: Path | None = None,
    sha256: str | None = None,
    track: Track = silent,
) -> float:
    """Write a published gallery network as a model artifact; returns its millions of parameters.

    Args:
        published: a name of ``PUBLISHED``.
        checkpoint: the published file, if on disk already; any digest is taken then, unless
            ``sha256`` demands one.
        sha256: expected digest of the file; by default the one known for the URL.

    Raises:
        UsageError: no such network.
        DataError: no network connection, another digest, or another network's weights.
    """
    if published not in PUBLISHED:
        raise UsageError(
            f"found `published` {published}, expected one of {', '.join(PUBLISHED)}: change it"
        )
    about = PUBLISHED[published]
    if checkpoint is None:
        expected = sha256 or about.sha256
        checkpoint = _downloaded(about.url, expected, track)
    elif sha256 is not None:
        _check_digest(checkpoint, sha256)
    size = (PREPROCESS.height, PREPROCESS.width)
    network = Network(about.architecture, size)
    _fill(network, read_checkpoint(checkpoint), checkpoint, published)
    save_model(
        out,
        network,
        role="gallery",
        preprocess=PREPROCESS,
        training={"published": published, "url": about.url, "sha256": sha256_file(checkpoint)},
        config={"published": published, "checkpoint": str(checkpoint)},
    )
    return parameters_m(network)


def _fill(network: Network, state: dict[str, Tensor], path: Path, name: str) -> None:
    own = network.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or shapes:
        first = (missing + extra + shapes)[0]
        raise DataError(
            f"found {len(missing)} tensors missing, {len(extra)} unknown and {len(shapes)} of "
            f"another shape in {path} ({first}), expected those of {name}: pass its `checkpoint`"
        )
    network.load_state_dict(state)


def _downloaded(url: str, expected: str, track: Track) -> Path:
    """The file of a URL, from the cache or fetched into it."""
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
                f"found SHA-256 {digest.hexdigest()} at {url}, expected {expected}: check whether "
                "its authors replaced it, then pass its `sha256`"
            )
        partial.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"found no way to {url} ({error}), expected a download: fetch it on a connected "
            f"machine and pass it as `checkpoint`, or put it at {path}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _check_digest(path: Path, expected: str) -> None:
    found = sha256_file(path)
    if found != expected.lower():
        raise DataError(
            f"found SHA-256 {found} at {path}, expected {expected}: remove it to fetch it again, "
            "or pass the digest you trust as `sha256`"
        )
