"""The loss term that aligns a query network to the deployed codebook."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import faiss  # noqa: E402

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.compile.index.build_index import build_gallery  # noqa: E402
from edgevpr.compile.index.faiss_build import build_file  # noqa: E402
from edgevpr.compile.index.index_options import IndexOptions  # noqa: E402
from edgevpr.errors import SpaceMismatchError, UsageError  # noqa: E402
from edgevpr.places.table import ImageTable  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.retrieval.projection import l2_normalize  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.losses.through_index import ThroughIndex, _quantizer, through_index  # noqa: E402
from edgevpr.train.networks.network import Architecture  # noqa: E402

from ..conftest import write_images  # noqa: E402

SPACE = "boq-48-0123456789ab"


class Nothing(torch.nn.Module):
    """An objective that is always zero."""

    def forward(self, query, *rest):  # type: ignore[no-untyped-def]
        return query.sum() * 0


def write(path: Path, count: int = 240, dim: int = 48, space: str = SPACE) -> Path:
    """Features of ``count`` images, four to a place, in 24 directions."""
    rng = np.random.default_rng(0)
    place = np.arange(count) // 4
    centres = rng.normal(size=(count // 4, 24)) @ rng.normal(size=(24, dim))
    x = l2_normalize(centres[place] + 0.5 * rng.normal(size=(count, dim)))
    table = ImageTable.build([f"{i}.jpg" for i in range(count)], place=place)
    Features.write(
        path, x, table, space=space, model_digest="m", preprocess=Preprocess(64, 64),
        source="test",
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    "factory", ["IVF8,PQ8x4fsr,Refine(SQ8)", "OPQ8_32,IVF8,PQ8x4fsr", "IVF8,PQ8x8", "PQ16x4fs"]
)
def test_codes_are_what_the_index_stores(factory: str, tmp_path: Path) -> None:
    """Would catch a residual, a coarse centroid or a rotation that is left out."""
    rng = np.random.default_rng(1)
    vectors = l2_normalize(rng.normal(size=(600, 32)))
    build_file(vectors, factory, tmp_path / "i.faiss")
    whole = faiss.read_index(str(tmp_path / "i.faiss"))
    base = whole
    if isinstance(whole, faiss.IndexRefine):
        base = faiss.downcast_index(whole.base_index)
    with contextlib.suppress(RuntimeError):  # one kind has no lists
        faiss.extract_index_ivf(base).nprobe = 8
    stored = _quantizer(tmp_path / "i.faiss", factory)(vectors[:50])
    found, ids = base.search(vectors[50:60], 600)
    for q in range(10):
        by_row = dict(zip(ids[q].tolist(), found[q].tolist(), strict=True))
        mine = stored @ vectors[50 + q]
        theirs = np.array([by_row[r] for r in range(50)])
        # fast-scan rounds its tables to 8 bits: measured within 0.006, and 1e-7 without
        np.testing.assert_allclose(mine, theirs, atol=0.02)
    assert 0.2 < np.linalg.norm(stored - vectors[:50], axis=1).mean() < 0.9


def test_gradients_are_those_of_the_formula(tmp_path: Path) -> None:
    """Would catch a projection, a mask or a temperature that the backward pass does not see."""
    features = Features(write(tmp_path / "f"))
    build_gallery(tmp_path / "f", tmp_path / "g", options=IndexOptions(dim=24))
    module = through_index(Nothing(), tmp_path / "g", features, tau=0.1)
    rows = torch.tensor([0, 1, 9, 50, 120])  # 0 and 1 show one place
    own = rows // 4
    query = torch.randn(5, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    query.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: module.term(q, own, rows), (query,))
    # another image of the own place is no wrong answer
    other = module.term(query, torch.arange(5), rows)
    assert other.item() > module.term(query, own, rows).item()


def test_the_term_falls_and_the_index_answers_better(tmp_path: Path) -> None:
    """Would catch a term that pulls away from what the index stores.

    Measured: the term from 1.82 to 0.11; the place found through IVF and PQ alone, 80 to 100%.
    """
    features = Features(write(tmp_path / "f"))
    options = IndexOptions(dim=24, factory="IVF4,PQ12x4fsr")
    build_gallery(tmp_path / "f", tmp_path / "g", options=options)
    module = through_index(Nothing(), tmp_path / "g", features, tau=0.1)
    rng = np.random.default_rng(2)
    start = np.asarray(features.descriptors, np.float32) + 0.25 * rng.normal(size=(240, 48))
    query = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    rows = torch.arange(240)
    optimizer = torch.optim.Adam([query], lr=0.02)
    terms = []
    for _ in range(40):
        loss = module(query, query, rows // 4, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append(loss.item())

    def found(descriptors: np.ndarray) -> float:
        from edgevpr.runtime import Gallery

        gallery = Gallery(tmp_path / "g", parameters="nprobe=4")
        first = gallery.search(l2_normalize(descriptors))[1][:, 0]
        return float((first // 4 == np.arange(240) // 4).mean())

    assert terms[-1] < 0.5 * terms[0]
    assert found(query.detach().numpy()) > found(start) + 0.1


def test_refusals(tmp_path: Path) -> None:
    """Would catch codes of another space, or of an index that has none."""
    features = Features(write(tmp_path / "f"))
    build_gallery(tmp_path / "f", tmp_path / "sq", options=IndexOptions(kind="sq8"))
    with pytest.raises(UsageError, match="--kind ivfpq"):
        through_index(Nothing(), tmp_path / "sq", features, 0.1)
    write(tmp_path / "other", space="boq-48-ffffffffffff")
    build_gallery(tmp_path / "other", tmp_path / "g", options=IndexOptions(dim=24))
    with pytest.raises(SpaceMismatchError):
        through_index(Nothing(), tmp_path / "g", features, 0.1)
    with pytest.raises(UsageError, match="--features"):
        TrainConfig(tmp_path, Architecture("resnet10t", 2), through_index=tmp_path / "g")


def test_a_query_network_trains_through_an_index(tmp_path: Path) -> None:
    """Would catch the option not reaching the loss: the same seed must end in another one."""
    from edgevpr.train.embed.embed import embed

    boq = {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2}
    write_images(tmp_path / "train", range(8), range(4))
    common = {
        "images": tmp_path / "train",
        "architecture": Architecture("resnet10t", 1, aggregator_args=boq),
        "image_size": 64,
        "epochs": 1,
        "batch_size": 8,
        "precision": "32",
        "workers": 0,
    }
    torch.set_num_threads(1)
    fit(TrainConfig(**common, images_per_place=2), tmp_path / "gallery")
    embed(tmp_path / "gallery", tmp_path / "train", tmp_path / "f", workers=0)
    build_gallery(
        tmp_path / "f", tmp_path / "g", options=IndexOptions(dim=32, factory="IVF1,PQ16x4fsr")
    )
    plain = fit(TrainConfig(**common, features=tmp_path / "f"), tmp_path / "plain")
    through = fit(
        TrainConfig(**common, features=tmp_path / "f", through_index=tmp_path / "g"),
        tmp_path / "through",
    )
    assert through["final_loss"] > plain["final_loss"]


def test_module_without_a_projection() -> None:
    """Would catch an index in the full space being projected by nothing."""
    codes = np.eye(3, 4, dtype=np.float16)
    module = ThroughIndex(Nothing(), codes, None, tau=1.0)
    rows = torch.arange(3)
    query = torch.eye(3, 4) * 7  # lengths do not matter
    expected = -np.log(np.e / (np.e + 2))
    assert float(module.term(query, rows, rows)) == pytest.approx(expected, abs=1e-5)
