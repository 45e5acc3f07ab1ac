"""A network with exits: the whole path is the plain network, and nothing of it is trained."""

import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.anytime.anytime_network import (  # noqa: E402
    AnytimeNetwork,
    ExitSpec,
    token_shape,
)
from edgevpr.train.anytime.codebook import Codebook  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402

from .test_segments import build, flat  # noqa: E402

AGGREGATORS = {
    "boq": {"proj_channels": 64, "num_queries": 8, "row_dim": 4},
    "salad": {"num_clusters": 4, "cluster_dim": 8, "token_dim": 16},
    "supervlad": {},
    "gem": {"dim": 32},
}
#: Early, middle and late: of other grids and widths than the tokens, and of the same.
EXITS = {
    "dinov2_vits14": ("L4", "L8", "L10"),
    "resnet18": ("1.0", "2.1", "3.1"),
    "efficientvit_b0": ("1.1", "2.1", "3.0"),
    "mobilevitv2_050": ("1.1", "2.1", "3.1"),
    "mobilenetv2_035": ("2.0", "4.1", "5.2"),
}


def sides(backbone: str) -> tuple[int, int]:
    return (42, 56) if backbone.startswith("dinov2") else (128, 192)


def anytime_of(network: Network, names: tuple[str, ...], **changes: object) -> AnytimeNetwork:
    """Composition at the first exits, with attention at the second, regression at the last."""
    size = sides(network.architecture.backbone)
    tokens = token_shape(network, size)
    torch.manual_seed(1)
    codebook = Codebook(4, 8, tokens.width, tokens.with_token)
    specs = [
        ExitSpec(
            name,
            "regression" if name == names[-1] else "composition",
            "attention" if names.index(name) == 1 else "mlp",
        )
        for name in names
    ]
    return AnytimeNetwork(network, specs, codebook, size)


@pytest.fixture
def small() -> AnytimeNetwork:
    return anytime_of(
        build("resnet10t", aggregator="salad", aggregator_args=AGGREGATORS["salad"]), ("2.0", "3.0")
    )


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("backbone", EXITS)
def test_the_whole_path_is_the_network_to_the_bit(backbone: str, aggregator: str) -> None:
    """Galleries of the network stay valid, because its descriptors are the same numbers.

    In training, too: batch statistics or dropout would change them.
    """
    arguments = AGGREGATORS[aggregator]
    network = build(backbone, aggregator=aggregator, aggregator_args=arguments)
    network.requires_grad_(False)
    batches = [torch.randn(count, 3, *sides(backbone)) for count in (1, 3)]
    with torch.no_grad():
        expected = [network(images) for images in batches]
        tokens = flat(network.backbone(batches[1]))
        anytime = anytime_of(network, EXITS[backbone]).train()
        for images, descriptors in zip(batches, expected, strict=True):
            assert torch.equal(anytime(images), descriptors)
        assert torch.equal(anytime.tokens(batches[1]), tokens)
        found = anytime.forward_exits(batches[1], (*EXITS[backbone], "full"))
    assert list(found) == [*EXITS[backbone], "full"]
    assert torch.equal(found["full"], expected[1])
    for name, descriptors in found.items():
        assert descriptors.shape == (3, network.dim)
        torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(3))
        with torch.no_grad():
            assert torch.equal(anytime(batches[1], name), descriptors)


def test_graphs_of_a_path(small: AnytimeNetwork) -> None:
    """Segments up to the exit, its head, the tail: how a robot runs it, and goes on."""
    images = torch.randn(2, 3, 128, 192)
    with torch.no_grad():
        first = small.segments[0](images)
        second = small.segments[1](first)
        assert torch.equal(small.tail(small.heads["2.0"](first)), small(images, "2.0"))
        assert torch.equal(small.tail(small.heads["3.0"](second)), small(images, "3.0"))
        assert torch.equal(small.tail(small.segments[2](second)), small(images))
    assert small.exits == ("2.0", "3.0")
    assert list(small.heads) == ["2.0", "3.0"]


def test_composition_is_the_codebook_s(small: AnytimeNetwork) -> None:
    """The aggregator reads mixtures of prototypes at a composing exit, regressed tokens else."""
    images = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        state = small.segments[0](images)
        regressed = small.adapters[0](state)
        assert torch.equal(small.tokens(images, "2.0"), small.codebook(regressed))
        state = small.segments[1](state)
        assert torch.equal(small.tokens(images, "3.0"), small.adapters[1](state))


def test_each_parameter_is_held_once(small: AnytimeNetwork) -> None:
    """Segments, heads and tail are views: a state dict names every tensor once."""
    names = [name.partition(".")[0] for name in small.state_dict()]
    assert set(names) == {"network", "codebook", "adapters"}
    pointers = [p.data_ptr() for p in small.state_dict().values() if p.numel()]
    assert len(pointers) == len(set(pointers))
    parts = (small.network, small.codebook, small.adapters)
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert sum(p.numel() for p in small.parameters()) == count
    views = [*small.segments.parameters(), *small.tail.parameters()]
    assert {id(p) for p in views} == {id(p) for p in small.network.parameters()}


def test_only_adapters_take_gradients(small: AnytimeNetwork) -> None:
    """No gradient reaches codebook, backbone or aggregator, and no statistic of theirs moves."""
    small.train()
    before = {k: v.clone() for k, v in small.network.state_dict().items()}
    descriptors = small.forward_exits(torch.randn(2, 3, 128, 192), ("2.0", "3.0"))
    (descriptors["2.0"] + descriptors["3.0"]).square().sum().backward()
    for part in (small.network, small.codebook):
        assert not any(p.requires_grad or p.grad is not None for p in part.parameters())
        assert not any(module.training for module in part.modules())
    assert all(p.grad is not None for p in small.adapters.parameters())
    assert all(module.training for module in small.adapters.modules())
    assert all(torch.equal(v, before[k]) for k, v in small.network.state_dict().items())
    assert not any(module.training for module in small.eval().modules())


def test_the_class_token_has_its_own_adapter() -> None:
    """SALAD on DINOv2 reads a class token, whose regression is another one than the patches'."""
    network = build(
        "dinov2_vits14", aggregator="salad", aggregator_args=AGGREGATORS["salad"]
    )  # fmt: skip
    anytime = anytime_of(network, ("L4", "L8", "L10"))
    images = torch.randn(1, 3, 42, 56)
    with torch.no_grad():
        before = anytime.tokens(images, "L10")
        for parameter in anytime.adapters[2].class_adapter.parameters():
            parameter.add_(1)
        after = anytime.tokens(images, "L10")
    assert before.shape == (1, 13, 384)
    assert torch.equal(after[:, 1:], before[:, 1:])
    assert not torch.equal(after[:, :1], before[:, :1])


def test_building_moves_no_module_into_training(small: AnytimeNetwork) -> None:
    """Shapes are found by running modules on another device: modes and weights stay."""
    network = build("resnet10t")
    network.backbone.body.layer1.train()
    modes = {name: module.training for name, module in network.named_modules()}
    state = {k: v.clone() for k, v in network.state_dict().items()}
    shape = token_shape(network, (128, 192))
    assert (shape.width, shape.grid, shape.with_token) == (512, (4, 6), False)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert all(v.device.type == "cpu" for v in network.state_dict().values())


def test_what_does_not_fit_is_refused(small: AnytimeNetwork) -> None:
    """One sentence each, before anything is trained."""
    network = build("resnet10t")
    spec, size = [ExitSpec("2.0")], (128, 192)
    with pytest.raises(UsageError, match=r"found no `codebook` for exit 2\.0"):
        AnytimeNetwork(network, spec, None, size)
    with pytest.raises(UsageError, match="256 channels without a class token, expected 512"):
        AnytimeNetwork(network, spec, Codebook(4, 8, 256), size)
    with pytest.raises(UsageError, match="512 channels with a class token, expected"):
        AnytimeNetwork(network, spec, Codebook(4, 8, 512, class_token=True), size)
    with pytest.raises(UsageError, match=r"`method` guessing of exit 2\.0"):
        AnytimeNetwork(network, [ExitSpec("2.0", "guessing")], None, size)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`adapter` deep"):
        AnytimeNetwork(
            network, [ExitSpec("2.0", "regression", "deep")], None, size  # type: ignore[arg-type]
        )  # fmt: skip
    with pytest.raises(UsageError, match=r"pass 2\.0, 3\.0, full"):
        small(torch.randn(1, 3, 128, 192), "L4")
    with pytest.raises(UsageError, match="images of 64 x 64 px, expected 128 x 192"):
        small(torch.randn(1, 3, 64, 64))
    assert all(p.requires_grad for p in network.parameters()), "refused, but frozen"


def test_regression_needs_no_codebook() -> None:
    """The ablation: the same adapters, composing from nothing."""
    network = build("resnet10t")
    anytime = AnytimeNetwork(network, [ExitSpec("2.0", "regression")], None, (64, 64))
    assert anytime.codebook is None
    assert anytime(torch.randn(1, 3, 64, 64), "2.0").shape == (1, 512)
    anytime.train().eval()


def test_a_map_off_the_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state coarser than what the aggregator reads, which no pooling brings there."""
    network = build("resnet10t")
    body = network.backbone.body
    monkeypatch.setitem(body._modules, "layer4", torch.nn.Upsample(scale_factor=2))
    with pytest.raises(UsageError, match="found an exit with a map of 4 x 4, expected a multiple"):
        AnytimeNetwork(network, [ExitSpec("3.0", "regression")], None, (64, 64))
