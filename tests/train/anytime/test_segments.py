"""Backbones cut at exits: the pieces are the whole."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.anytime.segments import cut, possible_exits  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.backbones.dinov2 import SIZES  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402

#: One small network of each of timm's kinds of feature extractor and stage; exits that exist.
FAMILIES = {
    "resnet10t": ("1.0", "3.0"),
    "resnet18": ("1.1", "3.0", "4.0"),
    "efficientvit_b0": ("0.1", "2.0", "2.2", "3.1"),
    "mobilevitv2_050": ("1.1", "2.1", "3.1"),
    "mobilenetv2_035": ("1.1", "3.2", "5.2"),
    "efficientnet_lite0": ("0.0", "4.2"),
    "mobilenetv3_small_050": ("1.1", "3.1"),
    "convnext_atto": ("0", "2"),
    "dinov2_vits14": ("L4", "L7", "L11"),
}


def build(backbone: str, **arguments: object) -> Network:
    """A network whose BatchNorm and layer scales are not those of a fresh one."""
    torch.manual_seed(0)
    aggregator = {"aggregator": "gem"} | arguments
    network = Network(Architecture(backbone, **aggregator)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
            if isinstance(getattr(module, "gamma", None), torch.nn.Parameter):
                module.gamma.fill_(0.1)
    return network


def flat(features: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """What the aggregator reads, as one tensor."""
    if isinstance(features, tuple):
        return torch.cat([features[1][:, None], flat(features[0])], 1)
    return features.flatten(2).transpose(1, 2)


def check_whole(network: Network, exits: tuple[str, ...], images: torch.Tensor) -> None:
    segments = cut(network, exits)
    assert len(segments) == len(exits) + 1
    with torch.no_grad():
        state = images
        for segment in segments:
            before = state.clone()
            given, state = state, segment(state)
            assert torch.equal(given, before), "a segment changed the state that it was given"
        assert torch.equal(state, flat(network.backbone(network.standardize(images))))


@pytest.mark.parametrize("backbone", FAMILIES)
@pytest.mark.parametrize("batch", [1, 2])
def test_segments_are_the_backbone_to_the_bit(backbone: str, batch: int) -> None:
    """A block left out, run twice or in another order, or an operation that the extractor has."""
    network = build(backbone)
    side = (56, 70) if backbone.startswith("dinov2") else (64, 96)
    images = torch.randn(batch, 3, *side)
    check_whole(network, FAMILIES[backbone], images)
    check_whole(network, possible_exits(network), images)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_035", "mobilevitv2_050"])
def test_a_shallower_level(backbone: str) -> None:
    """Stages behind the level that is read are neither run nor exits."""
    network = build(backbone, out_index=2)
    deepest = possible_exits(build(backbone))
    assert possible_exits(network) == deepest[: len(possible_exits(network))]
    assert len(possible_exits(network)) < len(deepest)
    check_whole(network, possible_exits(network), torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize("aggregator", ["boq", "supervlad", "salad"])
def test_dinov2_as_each_aggregator_reads_it(aggregator: str) -> None:
    """BoQ reads no final norm, SuperVLAD does, SALAD the class token too."""
    network = build("dinov2_vits14", aggregator=aggregator)
    check_whole(network, ("L2", "L11"), torch.randn(2, 3, 42, 56))


def test_standardized_images() -> None:
    """Instance normalization is the first segment's."""
    network = build("resnet10t", input_norm="instance")
    check_whole(network, ("2.0",), 3 + 5 * torch.randn(2, 3, 64, 64))


def test_parameters_are_the_network_s_own() -> None:
    """Copies would be trained, moved and saved apart from the network."""
    for backbone in ("dinov2_vits14", "resnet10t", "mobilenetv2_035"):
        network = build(backbone)
        own = {id(p) for p in network.backbone.parameters()}
        segments = cut(network, possible_exits(network)[:2])
        held = [id(p) for segment in segments for p in segment.parameters()]
        assert set(held) <= own
        assert len(held) == len(set(held)), "segments share a parameter"


def test_possible_exits() -> None:
    """The end of the backbone is no early exit."""
    dinov2 = possible_exits(build("dinov2_vits14"))
    assert dinov2 == tuple(f"L{n}" for n in range(1, 12))
    assert possible_exits(build("resnet18")) == ("1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "4.0")
    efficientvit = possible_exits(build("efficientvit_b2"))
    assert {"1.3", "2.2", "2.4", "3.2", "3.4"} <= set(efficientvit)
    assert (efficientvit[0], efficientvit[-1]) == ("0.0", "3.5")


@pytest.mark.parametrize(
    ("backbone", "exits", "words"),
    [
        ("dinov2_vits14", ("L4", "L99"), "found L99 in `exits`, .* choose from L1 .. L11$"),
        ("dinov2_vits14", ("L12",), "L12 in `exits`, where the backbone ends, .* L1 .. L11$"),
        ("dinov2_vits14", ("full",), "found full in `exits`"),
        ("dinov2_vits14", ("L8", "L4"), "found `exits` L8,L4, .*: pass `exits` L4,L8$"),
        ("dinov2_vits14", ("L4", "L4"), "each once, earliest first: pass `exits` L4$"),
        ("dinov2_vits14", (), "found no `exits`"),
        ("resnet18", ("4.1",), "where the backbone ends"),
        ("resnet18", ("layer1.0",), "choose from 1.0, 1.1, 2.0, 2.1, 3.0, 3.1, 4.0$"),
        ("efficientvit_b0", ("2.9",), "0.0, 0.1, 1.0, 1.1, 2.0 .. 2.2, 3.0, 3.1$"),
        ("regnetx_002", ("1.0",), "found `backbone` regnetx_002, expected one whose stages"),
    ],
)
def test_exits_that_do_not_exist(backbone: str, exits: tuple[str, ...], words: str) -> None:
    """One sentence, with those that do."""
    with pytest.raises(UsageError, match=words):
        cut(build(backbone), exits)


@pytest.mark.parametrize("backbone", ["dinov2_vits14", "efficientvit_b0"])
def test_segments_export(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a graph of its own that gives the same in ONNX Runtime, with only its weights."""
    # Few blocks: the exporter takes seconds for each.
    monkeypatch.setitem(SIZES, "dinov2_vits14", (384, 3, 6))
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from edgevpr.train.networks.export import _quiet

    network = build(backbone)
    side = 42 if backbone.startswith("dinov2") else 64
    state = torch.randn(1, 3, side, side)
    total = 0
    for index, segment in enumerate(cut(network, possible_exits(network)[1::20])):
        file = tmp_path / f"{index}.onnx"
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                segment.eval(), (state,), dynamo=True, opset_version=20, verbose=False
            )
            assert program is not None
            program.save(str(file), external_data=False)
            expected = segment(state)
        session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: state.numpy()})
        largest = float(expected.abs().max())
        assert np.abs(found - expected.numpy()).max() < 1e-4 * max(1.0, largest)
        state = expected
        total += file.stat().st_size
    # Weights once: float32 of the backbone, and the operators around them.
    assert total < 4 * sum(p.numel() for p in network.backbone.parameters()) + 400_000
