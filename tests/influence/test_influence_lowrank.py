"""EK-FAC and LoGRA against dense matrices, and the factors against kronfluence where it is installed."""

from pathlib import Path

import oracles
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from chips_core.influence import endpoint
from chips_core.influence.endpoint import Block, Direction
from chips_core.influence.lowrank import Frame, arriving, ekfac_direction, kronecker_frames, logra_direction

PAIRS, D, DV, DT = 40, 4, 6, 5


def two_blocks() -> tuple[list[Block], Direction]:
    X, Y, heads = oracles.random_case(pairs=PAIRS, width=D, image_width=DV, text_width=DT)
    half = PAIRS // 2
    blocks = [endpoint.forward(X[:half], Y[:half], heads), endpoint.forward(X[half:], Y[half:], heads)]
    return blocks, oracles.random_direction(heads)


def head_gradients(blocks: list[Block]) -> tuple[Tensor, Tensor]:
    """Every pair's rank-1 share of the image head's and the text head's gradient, flat."""
    image, text = [], []
    for block in blocks:
        to_image, to_text = arriving(block)
        image += [torch.outer(d, x).reshape(-1) for d, x in zip(to_image, block.image_features, strict=True)]
        text += [torch.outer(d, x).reshape(-1) for d, x in zip(to_text, block.text_features, strict=True)]
    return torch.stack(image), torch.stack(text)


def test_arriving__sums_to_the_gradient_of_the_heads() -> None:
    blocks, _ = two_blocks()
    image, text = head_gradients(blocks[:1])
    whole = endpoint.sum_gradient(blocks[0]) * 0.5
    torch.testing.assert_close(image.sum(0), whole.image.reshape(-1))
    torch.testing.assert_close(text.sum(0), whole.text.reshape(-1))


def test_kronecker_frames__come_largest_first() -> None:
    blocks, _ = two_blocks()
    frame = kronecker_frames(lambda: iter(blocks)).image
    features = torch.cat([b.image_features for b in blocks])
    arrived = torch.cat([arriving(b)[0] for b in blocks])
    for vectors, basis in ((features, frame.into), (arrived, frame.out)):
        spread = ((vectors @ basis) ** 2).sum(0)
        assert torch.equal(spread, spread.sort(descending=True).values)


def ekfac_slowly(u: Tensor, *, gradients: Tensor, frame: Frame, damping: float) -> Tensor:
    """Dense: the basis U_G ⊗ U_A written out, the gradients' mean squares in it, one division."""
    basis = torch.kron(frame.out, frame.into)
    squares = ((gradients @ basis) ** 2).mean(0)
    inverse = basis @ torch.diag(1 / (squares + damping * squares.mean())) @ basis.T
    return (inverse @ u.reshape(-1)).view_as(u)


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_ekfac_direction__equals_the_dense_matrix(damping: float) -> None:
    blocks, u = two_blocks()
    v = ekfac_direction(lambda: iter(blocks), u, damping=damping)
    frames = kronecker_frames(lambda: iter(blocks))
    image, text = head_gradients(blocks)
    torch.testing.assert_close(v.image, ekfac_slowly(u.image, gradients=image, frame=frames.image, damping=damping))
    torch.testing.assert_close(v.text, ekfac_slowly(u.text, gradients=text, frame=frames.text, damping=damping))
    assert float(v.log_scale) == 0


@pytest.mark.parametrize("rank", [1, 3])
def test_logra_direction__equals_dense_projection(rank: int) -> None:
    blocks, u = two_blocks()
    v = logra_direction(lambda: iter(blocks), u, rank=rank, damping=0.1)
    frame = kronecker_frames(lambda: iter(blocks)).text.top(rank)
    projection = torch.kron(frame.out, frame.into).T
    small = head_gradients(blocks)[1] @ projection.T
    H = small.T @ small / len(small)
    H += 0.1 * H.trace() / len(H) * torch.eye(len(H), dtype=torch.float64)
    slow = projection.T @ torch.linalg.inv(H) @ projection @ u.text.reshape(-1)
    torch.testing.assert_close(v.text, slow.view_as(u.text))


def test_logra_direction__of_full_rank_is_the_damped_inverse_of_the_whole_block() -> None:
    blocks, u = two_blocks()
    v = logra_direction(lambda: iter(blocks), u, rank=99, damping=0.1)
    gradients = head_gradients(blocks)[0]
    H = gradients.T @ gradients / len(gradients)
    H += 0.1 * H.trace() / len(H) * torch.eye(len(H), dtype=torch.float64)
    torch.testing.assert_close(v.image, torch.linalg.solve(H, u.image.reshape(-1)).view_as(u.image))


def test_directions__of_a_single_pair_are_zero() -> None:
    X, Y, heads = oracles.random_case(pairs=1)
    u = oracles.random_direction(heads)
    lonely = [endpoint.forward(X, Y, heads)]
    assert float(ekfac_direction(lambda: iter(lonely), u, damping=0.1).norm()) == 0
    assert float(logra_direction(lambda: iter(lonely), u, rank=2, damping=0.1).norm()) == 0


def test_ekfac_direction__equals_kronfluence(tmp_path: Path) -> None:
    pytest.importorskip("kronfluence")
    blocks, u = two_blocks()
    factors = kronfluence_factors(blocks, folder=tmp_path)
    v = ekfac_direction(lambda: iter(blocks), u, damping=0.1)
    for head, ours, gradient in (("image", v.image, u.image), ("text", v.text, u.text)):
        out, into = factors["gradient_eigenvectors"][head], factors["activation_eigenvectors"][head]
        eigenvalues = factors["lambda_matrix"][head] / factors["num_lambda_processed"][head]
        theirs = out @ ((out.T @ gradient @ into) / (eigenvalues + 0.1 * eigenvalues.mean())) @ into.T
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def kronfluence_factors(blocks: list[Block], *, folder: Path) -> dict[str, dict[str, Tensor]]:
    """What kronfluence fits when every batch is one of the blocks and the loss is their summed InfoNCE."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.task import Task

    class Summed(Task):
        def compute_train_loss(self, batch: list[Tensor], model: nn.Module, sample: bool = False) -> Tensor:  # noqa: ARG002
            return oracles.pos_of(model(*batch)).sum() / 2

        def compute_measurement(self, batch: list[Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    task = Summed()
    analyzer = Analyzer(
        analysis_name="factors",
        model=prepare_model(TwoHeads(), task),
        task=task,
        cpu=True,
        output_dir=str(folder),
        disable_tqdm=True,
        disable_model_save=True,
    )
    wide = torch.float64
    arguments = FactorArguments(
        strategy="ekfac",
        use_empirical_fisher=True,
        activation_covariance_dtype=wide,
        gradient_covariance_dtype=wide,
        per_sample_gradient_dtype=wide,
        lambda_dtype=wide,
    )
    pairs = TensorDataset(torch.cat([b.image_features for b in blocks]), torch.cat([b.text_features for b in blocks]))
    analyzer.fit_all_factors("f", dataset=pairs, per_device_batch_size=blocks[0].pairs, factor_args=arguments)
    return dict(analyzer.load_all_factors("f"))


class TwoHeads(nn.Module):
    """The endpoint of the test case as two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(DV, D, bias=False), nn.Linear(DT, D, bias=False)
        _, _, heads = oracles.random_case(pairs=PAIRS, width=D, image_width=DV, text_width=DT)
        self.image.weight.data, self.text.weight.data, self.scale = heads.image, heads.text, heads.scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        unit = nn.functional.normalize
        return self.scale * unit(self.image(x), dim=1) @ unit(self.text(y), dim=1).T
