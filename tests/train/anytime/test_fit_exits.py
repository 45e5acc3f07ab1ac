"""Stage 2: losses against numpy and the present trainer, what is trained, files and refusals."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.data import read_images  # noqa: E402
from edgevpr.data.image_files import list_images  # noqa: E402
from edgevpr.data.left_out import LeftOut  # noqa: E402
from edgevpr.errors import (  # noqa: E402
    ArtifactError,
    DataError,
    EdgeVPRError,
    NumericsError,
    SpaceMismatchError,
    UsageError,
)
from edgevpr.places.table import ImageTable  # noqa: E402
from edgevpr.progress import silent  # noqa: E402
from edgevpr.train.anytime.exit_scores import Candidate  # noqa: E402
from edgevpr.train.anytime.fit_codebook import fit_codebook, split_rows  # noqa: E402
from edgevpr.train.anytime.fit_exits import (  # noqa: E402
    ExitsTraining,
    anytime_networks,
    best_of_each,
    target_of,
)
from edgevpr.train.anytime.store import load_anytime, load_codebook  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.evaluate.evaluate import evaluate  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.images import Images  # noqa: E402
from edgevpr.train.networks.model import load_model  # noqa: E402
from edgevpr.train.prepare import query_problem  # noqa: E402
from edgevpr.train.record import TrainingStep  # noqa: E402

from ..conftest import write_images  # noqa: E402
from ..runs import gallery_config, query_config  # noqa: E402
from .exit_runs import codebook_config, exits_config  # noqa: E402


@pytest.fixture(scope="module")
def chain(tiny: Path, based: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with exits of both methods compared on a validation set."""
    out = tmp_path_factory.mktemp("chain") / "model"
    fit(exits_config(tiny, based, validation=tiny / "val"), out)
    return out


def module_of(
    tiny: Path, based: Path, **changes: object
) -> tuple[ExitsTraining, TrainConfig, ImageTable]:
    config = exits_config(tiny, based, **changes)
    network, about, opened = load_model(based / "model")
    codebook, _, _ = load_codebook(based / "codebook")
    table = read_images(config.images)
    networks = anytime_networks(config, network, codebook, about.preprocess)
    module = ExitsTraining(networks, config, target_of(config, table, opened, silent))
    module.log = lambda *args, **kwargs: None  # no trainer
    return module, config, table


def batch_of(config: TrainConfig, based: Path, table: ImageTable) -> tuple[torch.Tensor, ...]:
    _, about, _ = load_model(based / "model")
    return Images(config.images, table.paths, about.preprocess)[[(0, r) for r in (0, 5, 9, 30)]]


def descriptors(module: ExitsTraining, images: torch.Tensor) -> list[np.ndarray]:
    """(B, dim) float64 of every exit and method, by the network's own forward pass."""
    with torch.no_grad():
        return [
            network(images, name).double().numpy()
            for network in module._networks
            for name in network.exits
        ]


def test_loss_towards_the_full_path_against_numpy(tiny: Path, based: Path) -> None:
    """Sum over exits and methods of the mean squared distance to agg(F)."""
    module, config, table = module_of(tiny, based)
    images, rows = batch_of(config, based, table)
    with torch.no_grad():
        full = module._networks[0](images).double().numpy()
    expected = sum(((q - full) ** 2).sum(1).mean() for q in descriptors(module, images))
    found = module.training_step((images, rows), 0)
    assert len(descriptors(module, images)) == 4
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_loss_into_the_gallery_space_against_numpy(tiny: Path, based: Path) -> None:
    """Eq. 8 with the bank's centroids and variances, in float64, image by image."""
    module, config, table = module_of(tiny, based, features=based / "features", tau=0.1, gamma=5.0)
    images, rows = batch_of(config, based, table)
    gallery = Features(based / "features").descriptors.astype(np.float64)
    places = np.unique(table.place)
    mean = np.stack([gallery[table.place == p].mean(0) for p in places])
    variance = np.stack([gallery[table.place == p].var(0) for p in places])

    def eq_8(q: np.ndarray, row: int) -> float:
        own = int(np.flatnonzero(places == table.place[row])[0])
        raised = 5.0 / (2 * 0.1**2) * (q**2 * variance[own]).sum()
        others = [np.exp(q @ c / 0.1 + raised) for j, c in enumerate(mean) if j != own]
        positive = np.exp(q @ gallery[row] / 0.1)
        return float(-np.log(positive / (positive + sum(others))))

    expected = sum(
        np.mean([eq_8(q, int(row)) for q, row in zip(of_exit, rows, strict=True)])
        for of_exit in descriptors(module, images)
    )
    found = module.training_step((images, rows), 0)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_eq_8_at_the_full_path_is_the_present_trainer_s(tiny: Path, based: Path) -> None:
    """The same bank, own places and temperature, on descriptors of the full path."""
    module, config, table = module_of(tiny, based, features=based / "features")
    images, rows = batch_of(config, based, table)
    network, _, _ = load_model(based / "model")
    present = dataclasses.replace(query_config(tiny, based), validation_features=None)
    trainer = query_problem(network, table, present, Path("unused"), silent).module
    trainer.log = lambda *args, **kwargs: None
    expected = trainer.training_step((images, rows), 0)
    full = module._networks[0](images)
    assert torch.equal(module.loss_of(full, None, rows), expected)


@pytest.mark.parametrize("adapter", ["mlp", "attention"])
def test_gradients_reach_adapters_alone(tiny: Path, based: Path, adapter: str) -> None:
    """No gradient to backbone, aggregator or codebook; every adapter and regrid gets one."""
    module, config, table = module_of(tiny, based, options={"adapter": adapter})
    module.train()
    nothing = torch.nn.Identity()
    module.training_step(batch_of(config, based, table), 0).backward()
    for network in module._networks:
        frozen = [*network.network.parameters(), *(network.codebook or nothing).parameters()]
        assert all(p.grad is None and not p.requires_grad for p in frozen)
        assert not any(each.training for each in network.network.modules())
        for name, parameter in network.adapters.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0 or "in_proj_bias" in name, name
    inside = {id(p) for n in module._networks for p in n.adapters.parameters()}
    assert {id(p) for p in module.parameters()} == inside


def test_kept_states_give_the_same_loss(tiny: Path, based: Path) -> None:
    module, config, table = module_of(tiny, based)
    images, rows = batch_of(config, based, table)
    kept = module.states(images)
    assert [state.shape[2:] for state in kept[:2]] == [(8, 8), (8, 8)]
    of_kept, of_images = (module.training_step((each, rows), 0) for each in (kept, images))
    assert torch.equal(of_kept, of_images)


def test_the_full_path_stays_to_the_bit(tiny: Path, based: Path, chain: Path) -> None:
    """The model with exits has the weights of the one it was made from, and its space."""
    before, after = (load_file(p / "weights.safetensors") for p in (based / "model", chain))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    network, _, source = load_model(based / "model")
    anytime, _, opened = load_anytime(chain)
    assert opened.space == source.space
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(anytime(images), network(images))


def test_recorded_recall_is_that_of_the_written_exits(tiny: Path, chain: Path) -> None:
    """Both methods' figures are kept, and the chosen one's adapter is the one that is written."""
    from edgevpr.data import read_split
    from edgevpr.train.embed.embed import describe_images
    from edgevpr.train.evaluate.evaluate import recall_of

    anytime, about, _ = load_anytime(chain)
    figures = about.training["exits"]
    assert [each.name for each in about.exits] == ["1.0", "2.0"]
    database, queries = read_split(tiny / "val")
    network, _, _ = load_model(chain)
    gallery = describe_images(network, about.preprocess, tiny / "val", database, workers=0)
    full = evaluate(chain, tiny / "val").recall
    assert about.training["full"]["validation_r1"] == pytest.approx(full.at[1])
    for each in about.exits:
        both = {m: figures[each.name][m]["validation_r1"] for m in ("composition", "regression")}
        assert each.validation_r1 == both[each.method] == max(both.values())

        class Through(torch.nn.Module):
            dim = anytime.dim

            def forward(self, images: torch.Tensor, name: str = each.name) -> torch.Tensor:
                return anytime(images, name)

        found = describe_images(Through(), about.preprocess, tiny / "val", queries, workers=0)
        recall = recall_of(queries, found, database, gallery)
        assert each.validation_r1 == pytest.approx(recall.at[1])


@pytest.mark.parametrize("target", ["own", "gallery"])
def test_recorded_cosine_is_that_of_the_images_held_out(
    tiny: Path, based: Path, tmp_path: Path, target: str
) -> None:
    """To the full path or to the gallery's descriptors, through the exits as they were written."""
    options = {"method": "composition", "target": target}
    config = exits_config(tiny, based, options, features=based / "features")
    record = fit(config, tmp_path / "model")
    anytime, about, _ = load_anytime(tmp_path / "model")
    table = read_images(config.images)
    trained, held_out = split_rows(np.arange(len(table)), config.seed)
    assert sorted([*trained, *held_out]) == list(range(len(table)))
    images = Images(config.images, table.paths, about.preprocess)
    pixels, _ = images[[(0, int(row)) for row in held_out]]
    with torch.no_grad():
        towards = anytime(pixels)
        if target == "gallery":
            features = Features(based / "features").descriptors[held_out]
            towards = torch.from_numpy(features.astype(np.float32))
        for name in anytime.exits:
            cosine = torch.nn.functional.cosine_similarity(anytime(pixels, name), towards)
            found = record["exits"][name]["composition"]["cosine"]
            assert found == pytest.approx(cosine.mean().item(), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"crop": 0.8, "light": 0.2}, {"method": "composition"}),
        ({"features": "features"}, {"adapter": "attention"}),
    ],
)
def test_resume_is_bit_identical(
    tiny: Path, based: Path, tmp_path: Path, changes: dict[str, object], options: dict[str, object]
) -> None:
    """Interrupted and resumed equals uninterrupted, with and without kept states."""

    def stop_in_second_epoch(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise KeyboardInterrupt

    if "features" in changes:
        changes = {"features": based / "features"}
    config = exits_config(tiny, based, options, epochs=3, **changes)
    whole = fit(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "parts", on_step=stop_in_second_epoch)
    seen: list[int] = []
    parts = fit(config, tmp_path / "parts", resume=True, on_step=lambda s: seen.append(s.epoch))
    assert set(seen) == {1, 2}
    assert parts == whole
    expected, found = (load_file(tmp_path / n / "exits.safetensors") for n in ("whole", "parts"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "whole"]
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "parts", on_step=stop_in_second_epoch)
    with pytest.raises(UsageError, match="other settings"):
        fit(dataclasses.replace(config, seed=1), tmp_path / "parts", resume=True)


def test_an_exit_learns_the_same_whatever_is_beside_it(
    tiny: Path, based: Path, tmp_path: Path
) -> None:
    """Clipped by a common norm, or drawn one after the other, exits would change each other."""
    fit(exits_config(tiny, based, {"method": "composition"}), tmp_path / "alone")
    config = exits_config(tiny, based)
    fit(config, tmp_path / "both")
    record = load_anytime(tmp_path / "both")[1]
    alone = load_file(tmp_path / "alone" / "exits.safetensors")
    both = load_file(tmp_path / "both" / "exits.safetensors")
    composed = [i for i, each in enumerate(record.exits) if each.method == "composition"]
    assert composed, "the seed of this test lets composition win nowhere"
    for at in composed:
        for name in (n for n in alone if n.startswith(f"adapters.{at}.")):
            assert torch.equal(alone[name], both[name]), name


def test_exits_learn(tiny: Path, based: Path, tmp_path: Path) -> None:
    """Towards either target the loss falls, and the held-out cosine rises with training."""
    losses: list[float] = []
    for changes in ({}, {"features": based / "features"}):
        losses.clear()
        config = exits_config(tiny, based, epochs=1, **changes)
        short = fit(config, tmp_path / "short")
        longer = dataclasses.replace(config, epochs=20)
        long = fit(longer, tmp_path / "long", on_step=lambda step: losses.append(step.loss))
        assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
        for name in ("1.0", "2.0"):
            for method in ("composition", "regression"):
                before, after = (each["exits"][name][method]["cosine"] for each in (short, long))
                assert after > before, (name, method)


def test_images_without_places_do_for_the_own_target(
    tiny: Path, based: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", range(3), range(3))
    (tmp_path / "images" / "images.csv").unlink()
    config = exits_config(tiny, based, {"method": "regression"}, images=tmp_path / "images")
    record = fit(config, tmp_path / "model")
    assert record["images"] + record["held_out"] == 9
    assert load_anytime(tmp_path / "model")[0].codebook is None


def test_the_better_candidate_is_kept() -> None:
    """R@1 decides where there is one, the cosine between equals and where there is none."""
    by_recall = best_of_each(
        [Candidate("a", "composition", 0.5, 90.0), Candidate("a", "regression", 0.9, 80.0)]
    )
    assert by_recall["a"].method == "composition"
    by_cosine = best_of_each(
        [Candidate("a", "composition", 0.5, 90.0), Candidate("a", "regression", 0.9, 90.0)]
    )
    assert by_cosine["a"].method == "regression"
    without = best_of_each([Candidate("a", "composition", 0.95), Candidate("a", "regression", 0.9)])
    assert without["a"].method == "composition"


def other_codebook(tiny: Path, out: Path) -> dict[str, object]:
    from edgevpr.train.anytime.fit_codebook import fit_codebook

    from .exit_runs import ARCHITECTURE, codebook_config

    fit(gallery_config(tiny, architecture=ARCHITECTURE, epochs=1, seed=5), out / "model")
    fit_codebook(codebook_config(tiny, out, epochs=1), out / "codebook")
    return {"options": {"codebook": out / "codebook"}}


REFUSED = [
    ({"options": {"exits": "2.0,1.0"}}, UsageError, "earliest first"),
    ({"options": {"exits": "1.0,7.3"}}, UsageError, r"found 7\.3"),
    ({"options": {"exits": "3.0"}}, UsageError, "where the backbone ends"),
    ({"options": {"exits": ""}}, UsageError, "without `exits`"),
    ({"options": {"codebook": None}}, UsageError, "without `codebook`"),
    ({"options": {"anytime": None}}, UsageError, "without `anytime`"),
    ({"options": {"target": "gallery"}}, UsageError, "without `features`"),
    ({"options": {"target": "own"}, "loss": "implicit"}, UsageError, "found `loss` implicit"),
    ({"loss": "csd"}, UsageError, "found `loss` csd"),
    ({"image_size": 64}, UsageError, "leave out `image_size`"),
    ({"qat": True}, UsageError, "leave out `qat`"),
    ({"lr": 1e12, "epochs": 3}, NumericsError, "lower `lr`"),
]


@pytest.mark.parametrize(("changes", "error", "match"), REFUSED)
def test_refusals(
    tiny: Path, based: Path, tmp_path: Path, changes: dict[str, object], error: type, match: str
) -> None:
    with pytest.raises(error, match=match):
        fit(exits_config(tiny, based, **changes), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_files_of_other_models_are_refused(
    tiny: Path, based: Path, trained: Path, tmp_path: Path
) -> None:
    """A codebook, and features, of another model; validation of a query network without any."""
    with pytest.raises(ArtifactError, match="codebook of the model"):
        fit(exits_config(tiny, based, **other_codebook(tiny, tmp_path)), tmp_path / "x")
    with pytest.raises(SpaceMismatchError):
        fit(exits_config(tiny, based, features=trained / "features"), tmp_path / "x")
    of_query = {"anytime": trained / "query", "codebook": None, "method": "regression"}
    with pytest.raises(EdgeVPRError, match="found"):
        fit(exits_config(tiny, based, of_query), tmp_path / "x")


def test_images_that_cannot_be_read_are_named(tiny: Path, based: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "images", range(3), range(3))
    (tmp_path / "images" / "000_1.png").write_bytes(b"no image")
    config = exits_config(tiny, based, images=tmp_path / "images")
    with pytest.raises(DataError, match=r"000_1\.png"):
        fit(config, tmp_path / "x")


@pytest.mark.parametrize("cached", [True, False])
def test_damaged_images_are_left_out_and_named(
    tiny: Path, based: Path, tmp_path: Path, cached: bool
) -> None:
    """In both stages, with states kept in memory and computed anew; without a list they end it."""
    root = tmp_path / "train"
    shutil.copytree(tiny / "train", root)
    paths = list_images(root)
    (root / paths[5]).write_bytes((root / paths[5]).read_bytes()[:200])
    most = {"max_cache_mb": 512 if cached else 0}
    book = codebook_config(tiny, based, images=root, **most)
    exits = exits_config(tiny, based, {"method": "composition", **most}, images=root)
    for run, config in ((fit_codebook, book), (fit, exits)):
        left_out: list[LeftOut] = []
        record = run(config, tmp_path / run.__name__, left_out=left_out)
        assert [each.path for each in left_out] == [paths[5]]
        assert paths[5] in record["left_out"][0]
        with pytest.raises(DataError, match=Path(paths[5]).name):
            run(config, tmp_path / "strict")
