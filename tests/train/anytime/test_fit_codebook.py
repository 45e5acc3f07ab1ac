"""Stage 1: its loss against numpy, what it moves, interruption and refusals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402

from edgevpr.errors import DataError, NumericsError, UsageError  # noqa: E402
from edgevpr.train.anytime.codebook import Codebook  # noqa: E402
from edgevpr.train.anytime.codebook_config import CodebookConfig  # noqa: E402
from edgevpr.train.anytime.fit_codebook import (  # noqa: E402
    CodebookTraining,
    FrozenTokens,
    fit_codebook,
    token_error,
)
from edgevpr.train.anytime.store import load_codebook  # noqa: E402
from edgevpr.train.images import Images  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.model import load_model  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402
from edgevpr.train.record import TrainingStep  # noqa: E402

from ..conftest import write_images  # noqa: E402
from .exit_runs import ARCHITECTURE, codebook_config  # noqa: E402


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "codebook.safetensors")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(ARCHITECTURE, (64, 64)).double().eval()


def module_of(network: Network, **changes: object) -> CodebookTraining:
    torch.manual_seed(1)
    frozen = FrozenTokens(network, (64, 64))
    config = CodebookConfig(Path(), Path(), **changes)
    made = CodebookTraining(Codebook(4, 8, frozen.shape.width).double(), frozen, config)
    made.log = lambda *args, **kwargs: None  # no trainer
    return made


def test_loss_against_numpy(network: Network) -> None:
    """|agg(F^) - agg(F)|^2 + lambda |F^ - F|^2 / |F|^2, in float64, image by image."""
    module = module_of(network, token_weight=0.3, reseed_steps=0)
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    loss = module.training_step((images, torch.arange(3)), 0)
    with torch.no_grad():
        features = network.backbone(images)
        tokens = features.flatten(2).transpose(1, 2)
        composed = module.codebook(tokens)
        rebuilt = composed.transpose(1, 2).reshape(features.shape)
        found, target = (network.aggregator(x).numpy() for x in (rebuilt, features))
    f, f_hat = tokens.numpy(), composed.numpy()
    each = [
        ((found[b] - target[b]) ** 2).sum()
        + 0.3 * ((f_hat[b] - f[b]) ** 2).sum() / (f[b] ** 2).sum()
        for b in range(3)
    ]
    assert loss.item() == pytest.approx(np.mean(each), rel=1e-9)
    assert token_error(composed, tokens).item() > 0


def test_kept_tokens_give_the_same_loss(network: Network) -> None:
    module = module_of(network, reseed_steps=0)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        kept = module._frozen[0](images)
    rows = torch.arange(2)
    assert torch.equal(
        module.training_step((kept, rows), 0), module.training_step((images, rows), 0)
    )


@pytest.mark.parametrize("init", ["learned", "kmeans", "random"])
def test_gradients_reach_the_codebook_alone(network: Network, init: str) -> None:
    """Network and aggregator get none; prototypes only where they are learned."""
    module = module_of(network, init=init, reseed_steps=0)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    module.training_step((images, torch.arange(2)), 0).backward()
    assert all(p.grad is None for p in network.parameters())
    assert module.codebook.log_inverse_temperature.grad.abs().min() > 0
    learned = module.codebook.prototypes.grad
    assert (learned is not None and learned.abs().max() > 0) == (init == "learned")


def test_the_network_stays_in_evaluation_mode(network: Network) -> None:
    """BatchNorm must not learn the training images; Lightning calls train()."""
    module = module_of(network)
    module.train()
    assert not any(each.training for each in network.modules())


def test_the_codebook_gets_better_and_says_how_good(
    tiny: Path, based: Path, tmp_path: Path
) -> None:
    losses: list[float] = []
    config = codebook_config(tiny, based, epochs=25, lr=1e-2)
    record = fit_codebook(config, tmp_path / "c", on_step=lambda step: losses.append(step.loss))
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    codebook, about, _ = load_codebook(tmp_path / "c")
    assert (about.heads, about.size, about.init) == (4, 8, "learned")
    # The cosine in the record is that of one image in twenty, which was not trained on.
    network, model, _ = load_model(based / "model")
    assert record["held_out"] == 2
    frozen = FrozenTokens(network, (64, 64))
    names = sorted(p.name for p in (tiny / "train").glob("*.png"))
    images = Images(tiny / "train", names, model.preprocess)
    with torch.no_grad():
        tokens, target = frozen(images[[(0, row) for row in range(len(names))]][0])
        cosine = (frozen.tail(codebook(tokens)) * target).sum(1)
    assert cosine.min() - 1e-3 < record["cosine"] < cosine.max() + 1e-3
    assert cosine.mean().item() == pytest.approx(record["cosine"], abs=0.05)


@pytest.mark.parametrize("cache", [0, 2000])
def test_resume_is_bit_identical(tiny: Path, based: Path, tmp_path: Path, cache: int) -> None:
    """Prototypes, counts of unused ones, optimizer and schedule survive an interruption."""

    def stop_in_second_epoch(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise KeyboardInterrupt

    config = codebook_config(tiny, based, size=64, epochs=4, reseed_steps=2, max_cache_mb=cache)
    whole = fit_codebook(config, tmp_path / "whole")
    assert whole["reseeded"] > 0
    with pytest.raises(KeyboardInterrupt):
        fit_codebook(config, tmp_path / "parts", on_step=stop_in_second_epoch)
    assert not (tmp_path / "parts").exists()
    seen: list[int] = []
    parts = fit_codebook(
        config, tmp_path / "parts", resume=True, on_step=lambda step: seen.append(step.epoch)
    )
    assert set(seen) == {1, 2, 3}
    assert parts == whole
    expected, found = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "whole"]


@pytest.mark.parametrize("init", ["kmeans", "random"])
def test_frozen_prototypes_only_get_a_temperature(
    tiny: Path, based: Path, tmp_path: Path, init: str
) -> None:
    short = codebook_config(tiny, based, init=init, epochs=1)
    fit_codebook(short, tmp_path / "short")
    fit_codebook(dataclasses.replace(short, epochs=3), tmp_path / "long")
    first, second = state_of(tmp_path / "short"), state_of(tmp_path / "long")
    assert torch.equal(first["prototypes"], second["prototypes"])
    name = "log_inverse_temperature"
    assert not torch.equal(first[name], second[name])


def test_unused_prototypes_are_drawn_anew(tiny: Path, based: Path, network: Network) -> None:
    """One that points away from all tokens becomes a token of the batch, and starts anew."""
    module = module_of(network, reseed_steps=1)
    optimizer = torch.optim.AdamW(module.codebook.parameters())
    tokens = torch.randn(2, 5, module.codebook.dim, dtype=torch.float64).abs()
    module.codebook.prototypes.data.abs_()
    module.codebook.prototypes.data[2, 3] = -1.0
    weights = module.codebook.assign(tokens)
    module._count(weights.detach())
    used = weights[:, 2].argmax(-1).unique()
    kept = module.codebook.prototypes[2, used].clone()
    module.codebook.compose(weights).sum().backward()
    module._reseed(tokens, {})
    assert torch.equal(module.codebook.prototypes[2, used], kept)
    module.get_buffer("unused_prototypes")[2, 3] = 1
    optimizer.step()
    module._reseed(tokens, optimizer.state)
    width = module.codebook.dim // 4
    parts = tokens[..., 2 * width : 3 * width].flatten(0, 1)
    assert (parts == module.codebook.prototypes[2, 3]).all(1).any()
    assert optimizer.state[module.codebook.prototypes]["exp_avg"][2, 3].abs().max() == 0
    assert module.get_buffer("reseeded") > 0


def test_the_class_token_of_salad_has_a_book(tmp_path: Path) -> None:
    """On DINOv2: its own prototypes, from the class tokens of the images."""
    from edgevpr.preprocess import Preprocess
    from edgevpr.train.networks.model import save_model

    arguments = {"num_clusters": 2, "cluster_dim": 8, "token_dim": 8}
    torch.manual_seed(0)
    network = Network(
        Architecture("dinov2_vits14", aggregator="salad", aggregator_args=arguments), (28, 28)
    )
    save_model(
        tmp_path / "model", network, role="gallery", preprocess=Preprocess(28, 28), training={},
        config={},
    )  # fmt: skip
    write_images(tmp_path / "images", range(3), range(4))
    config = CodebookConfig(
        tmp_path / "model", tmp_path / "images", size=4, epochs=1, batch_size=4, workers=0,
        precision="fp32",
    )  # fmt: skip
    fit_codebook(config, tmp_path / "codebook")
    codebook, about, _ = load_codebook(tmp_path / "codebook")
    assert about.class_token
    assert (about.heads, about.size, about.dim) == (8, 4, 384)
    assert codebook.class_prototypes.shape == (8, 4, 48)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"heads": 5}, UsageError, "`heads` 5"),
        ({"size": 100_000}, DataError, "different tokens"),
        ({"lr": 1e-4, "min_lr": 1e-3}, UsageError, "`min_lr`"),
        ({"lr": 1e12, "epochs": 3}, NumericsError, "lower `lr`"),
        ({"token_weight": -1.0}, UsageError, "`token_weight`"),
    ],
)
def test_refusals(
    tiny: Path, based: Path, tmp_path: Path, changes: dict[str, object], error: type, match: str
) -> None:
    with pytest.raises(error, match=match):
        fit_codebook(codebook_config(tiny, based, **changes), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_images_that_cannot_be_read_are_named(tiny: Path, based: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "images", range(2), range(3))
    (tmp_path / "images" / "000_1.png").write_bytes(b"no image")
    config = codebook_config(tiny, based, images=tmp_path / "images")
    with pytest.raises(DataError, match=r"000_1\.png"):
        fit_codebook(config, tmp_path / "c")
    with pytest.raises(DataError, match="expected a folder of images"):
        fit_codebook(dataclasses.replace(config, images=tmp_path / "none"), tmp_path / "c")
