"""Adapters and regridding: shapes, values by hand, and grids that do not fit."""

import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.anytime.adapters import (  # noqa: E402
    ADAPTERS,
    AttentionAdapter,
    MLPAdapter,
    Regrid,
)


def test_the_mlp_costs_what_the_paper_s_table_leaves_for_it() -> None:
    """Two layers of D x D, with biases: at D = 768 and 529 tokens 0.624 G multiply-adds."""
    adapter = MLPAdapter(768)
    assert sum(p.numel() for p in adapter.parameters()) == 2 * (768**2 + 768)
    assert round(529 * 2 * 768**2 / 1e9, 3) == 0.624


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("dim", [48, 128, 100])
def test_tokens_in_tokens_out(name: str, dim: int) -> None:
    assert ADAPTERS[name](dim)(torch.randn(2, 5, dim)).shape == (2, 5, dim)


def test_only_attention_sees_other_tokens() -> None:
    tokens = torch.randn(1, 6, 32)
    changed = tokens.clone()
    changed[0, 5] += 1
    for adapter, sees in ((MLPAdapter(32), False), (AttentionAdapter(32), True)):
        first, second = adapter(tokens)[0, 0], adapter(changed)[0, 0]
        assert torch.equal(first, second) != sees


def space_to_depth(state: torch.Tensor, by: int) -> torch.Tensor:
    """(B, C, h, w) -> (B, N, C by by): the pixels of each block side by side, row-major."""
    b, _, h, w = state.shape
    blocks = [
        state[:, :, y * by : (y + 1) * by, x * by : (x + 1) * by].reshape(b, -1)
        for y in range(h // by)
        for x in range(w // by)
    ]
    return torch.stack(blocks, 1)


@pytest.mark.parametrize(("from_grid", "pool"), [((10, 6), 1), ((20, 12), 2), ((40, 24), 4)])
def test_regrid_is_pooling_space_to_depth_and_a_linear_layer(
    from_grid: tuple[int, int], pool: int
) -> None:
    """Rows and columns swapped, or another order of tokens than row-major."""
    regrid = Regrid(3, 8, from_grid, (5, 3))
    state = torch.randn(2, 3, *from_grid)
    pooled = torch.nn.functional.avg_pool2d(state, pool)
    weight, bias = regrid.project.weight.flatten(1), regrid.project.bias
    expected = torch.nn.functional.linear(space_to_depth(pooled, 2), weight, bias)
    torch.testing.assert_close(regrid(state), expected)


def test_maps_on_the_grid_are_only_flattened() -> None:
    state = torch.randn(2, 8, 4, 3)
    regrid = Regrid(8, 8, (4, 3), (4, 3))
    assert not list(regrid.parameters())
    assert torch.equal(regrid(state)[:, 1 * 3 + 2], state[:, :, 1, 2])
    assert Regrid(6, 8, (4, 3), (4, 3))(torch.randn(2, 6, 4, 3)).shape == (2, 12, 8)


def test_maps_that_a_strided_convolution_rounded_up() -> None:
    """21 rows become 11: the last row stands for the one that is not there."""
    regrid = Regrid(2, 4, (21, 21), (11, 11))
    state = torch.randn(1, 2, 21, 21)
    tokens = regrid(state)
    assert tokens.shape == (1, 121, 4)
    patch = torch.stack([state[0, :, 20, 20]] * 4, 1).reshape(2, 2, 2)
    expected = (regrid.project.weight * patch).sum((1, 2, 3)) + regrid.project.bias
    torch.testing.assert_close(tokens[0, -1], expected)
    # 322 px: 161, 81, 41, 21 and 11 rows
    for rows in (161, 81, 41, 11):
        assert Regrid(2, 4, (rows, rows), (11, 11))(torch.randn(1, 2, rows, rows)).shape[1] == 121


@pytest.mark.parametrize("from_grid", [(5, 3), (10, 6), (20, 12), (39, 23)])
def test_pooled_states_are_read_as_the_state(from_grid: tuple[int, int]) -> None:
    """Training keeps pooled states; pooling twice would be another network."""
    regrid = Regrid(3, 8, from_grid, (5, 3))
    state = torch.randn(2, 3, *from_grid)
    pooled = regrid.pool(state)
    assert pooled.shape[2:] == (min(10, from_grid[0]), min(6, from_grid[1]))
    assert torch.equal(regrid(pooled), regrid(state))
    assert torch.equal(regrid.pool(pooled), pooled)


@pytest.mark.parametrize("class_token", [False, True])
def test_tokens_of_a_transformer(class_token: bool) -> None:
    regrid = Regrid(8, 8, (2, 3), (2, 3), class_token=class_token)
    state = torch.randn(1, 1 + 6, 8)
    assert torch.equal(regrid(state), state if class_token else state[:, 1:])
    assert torch.equal(regrid(regrid.pool(state)), regrid(state))


@pytest.mark.parametrize("from_grid", [(4, 4), (11, 11), (8, 12)])
def test_grids_that_do_not_fit_are_refused(from_grid: tuple[int, int]) -> None:
    """Smaller than the aggregator's, or no steps of one size lead to it."""
    with pytest.raises(UsageError, match="found an exit with a map"):
        Regrid(3, 8, from_grid, (8, 8))
