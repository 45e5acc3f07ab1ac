"""Cost of exits: the paper's shares, and those of light networks."""

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.anytime.exit_cost import EXITS, costs_of, exit_costs  # noqa: E402
from edgevpr.train.networks.cost import cost_of  # noqa: E402
from edgevpr.train.networks.published import TABLE_2  # noqa: E402

from .test_anytime_network import AGGREGATORS, anytime_of, build  # noqa: E402


def test_the_paper_s_costs() -> None:
    """41, 57, 72 and 87 % of DINOv2-B with BoQ at 322 px, adapter and composition included."""
    network = TABLE_2["dinov2_vitb14+boq"]
    costs = costs_of(network, ("L4", "L6", "L8", "L10"), 322)
    shares = {name: cost.share for name, cost in costs.items()}
    expected = {"L4": 0.414, "L6": 0.567, "L8": 0.720, "L10": 0.874, "full": 1.0}
    assert shares == pytest.approx(expected, abs=0.001)
    assert all(cost.map == (768, 23, 23) for cost in costs.values())
    # By hand, in billions: T = 529 patches of width D = 768, and the class token in the blocks.
    t, d, m = 529, 768, 1024
    block = 12 * (t + 1) * d**2 + 2 * (t + 1) ** 2 * d
    head = 2 * t * d**2 + 2 * t * d * m
    assert costs["L6"].multiply_adds_g - costs["L4"].multiply_adds_g == pytest.approx(
        2 * block / 1e9
    )
    rest = costs["full"].multiply_adds_g - costs["L10"].multiply_adds_g
    assert rest == pytest.approx((2 * block - head) / 1e9)
    assert costs["full"].multiply_adds_g == pytest.approx(cost_of(network, 322).multiply_adds_g)


@pytest.mark.parametrize(
    ("name", "maps", "percent"),
    [
        ("efficientvit_b2+boq", (96, 192, 192, 384, 384), (42, 56, 67, 80, 91)),
        ("efficientvit_b2+salad", (96, 192, 192, 384, 384), (30, 47, 61, 76, 89)),
        ("mobilevitv2_100+boq", (128, 256, 384), (50, 72, 95)),
        ("mobilevitv2_100+salad", (128, 256, 384), (38, 66, 93)),
    ],
)
def test_light_networks(name: str, maps: tuple[int, ...], percent: tuple[int, ...]) -> None:
    """At 320 px; the figures are rounded, and without the linear layer of the regridding."""
    costs = costs_of(TABLE_2[name], EXITS[TABLE_2[name].backbone], 320)
    early = [cost for exit, cost in costs.items() if exit != "full"]
    assert [cost.map[0] for cost in early] == list(maps)
    for cost, expected in zip(early, percent, strict=True):
        assert -0.5 < 100 * cost.share - expected < 1.8
    assert costs["full"].multiply_adds_g == pytest.approx(
        cost_of(TABLE_2[name], 320).multiply_adds_g
    )


def test_costs_of_a_network_that_is_there() -> None:
    """Counted without running it; the same as what a run through the exit counts."""
    anytime = anytime_of(
        build("resnet10t", aggregator="salad", aggregator_args=AGGREGATORS["salad"]), ("2.0", "3.0")
    )
    before = {k: v.clone() for k, v in anytime.state_dict().items()}
    costs = exit_costs(anytime)
    assert list(costs) == ["2.0", "3.0", "full"]
    # On a CPU, torch fuses the attention adapter's block and does not count it: by hand, in T = 24
    # patches of width D = 512.
    block = {"2.0": 0, "3.0": 12 * 24 * 512**2 + 2 * 24**2 * 512, "full": 0}
    anytime.adapters[1].adapter[0] = torch.nn.Identity()
    for name, cost in costs.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            anytime(torch.randn(1, 3, 128, 192), name)
        counted = (counter.get_total_flops() / 2 + block[name]) / 1e9
        assert cost.multiply_adds_g == pytest.approx(counted)
    assert costs["2.0"].map == (128, 16, 24)
    # An adapter may cost more than the stage that it saves.
    assert costs["2.0"].share < costs["full"].share == 1 < costs["3.0"].share
    assert all(torch.equal(v, before[k]) for k, v in anytime.state_dict().items())


def test_exits_that_do_not_exist() -> None:
    """The sentence of the segments, before anything is counted."""
    with pytest.raises(UsageError, match="found L12 in `exits`"):
        costs_of(TABLE_2["dinov2_vitb14+boq"], ("L12",), 322)
