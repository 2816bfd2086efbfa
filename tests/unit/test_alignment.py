"""The alignment of frames and steps: against all alignments, one by one."""

import itertools

import pytest
import torch

from kinetext.methods.alignment import alignment_score, unordered_score

SIZES = [(1, 1), (6, 1), (7, 2), (7, 3), (6, 6), (2, 3)]


def all_alignments(num_frames: int, num_steps: int, most: int) -> tuple[list[int], list[list[int]]]:
    """The frame of each moment, and the step of each moment in every alignment: where each next step begins."""
    frame_T = sorted([*range(num_frames)] * -(-most // num_frames))
    steps = [
        [sum(t >= b for b in begins) for t in range(len(frame_T))]
        for begins in itertools.combinations(range(1, len(frame_T)), num_steps - 1)
    ]
    return frame_T, steps


def random_cosines(num_frames, most=6):
    return torch.randn(4, 3, num_frames, most, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize(("num_frames", "num_steps"), SIZES)
def test_the_best_alignment_is_the_best_of_all(num_frames, num_steps):
    """Two frames for three steps are four frames or more."""
    cosine_BGTM = random_cosines(num_frames)
    frame_T, steps = all_alignments(num_frames, num_steps, 6)
    values = [cosine_BGTM[:, :, frame_T, step_T].mean(-1) for step_T in steps]
    score_BG = alignment_score(cosine_BGTM, torch.full((3,), num_steps))
    torch.testing.assert_close(score_BG, torch.stack(values).amax(0))


@pytest.mark.parametrize("order", [0.0, 0.7])
@pytest.mark.parametrize(("num_frames", "num_steps"), SIZES)
def test_the_soft_alignment_is_the_mean_of_exponentials_over_all(num_frames, num_steps, order):
    cosine_BGTM, temperature = random_cosines(num_frames), 0.3
    position_GM = torch.linspace(0, 1, num_steps, dtype=torch.float64).expand(3, -1)
    position_GM = torch.cat([position_GM, torch.zeros(3, 6 - num_steps)], 1)
    frame_T, steps = all_alignments(num_frames, num_steps, 6)
    time_T = torch.linspace(0, 1, len(frame_T), dtype=torch.float64)
    sums = torch.stack([cosine_BGTM[:, :, frame_T, step_T].sum(-1) for step_T in steps])
    prior_A = torch.stack([-order * ((time_T - position_GM[0, step_T]) ** 2).sum() for step_T in steps])
    log_share_A = (prior_A / temperature).log_softmax(0)
    expected_BG = temperature * (sums / temperature + log_share_A[:, None, None]).logsumexp(0) / len(frame_T)
    actual_BG = alignment_score(cosine_BGTM, torch.full((3,), num_steps), position_GM, temperature, order)
    torch.testing.assert_close(actual_BG, expected_BG, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.01, 5.0])
@pytest.mark.parametrize("order", [0.0, 0.1])
def test_equal_cosines_are_the_score_whatever_the_number_of_steps(temperature, order):
    """So a class with more steps gains nothing by their number."""
    cosine_BGTM = torch.full((1, 4, 8, 4), 0.3)
    position_GM = torch.linspace(0, 1, 4).expand(4, -1)
    score_BG = alignment_score(cosine_BGTM, torch.tensor([1, 2, 3, 4]), position_GM, temperature, order)
    torch.testing.assert_close(score_BG, torch.full((1, 4), 0.3), atol=1e-5, rtol=0)


def test_the_prior_refuses_all_frames_but_one_in_one_step():
    """A clip of the reversed class: the frames first fit the end, then the start."""
    reversed_BGTM = torch.tensor([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 4)[None, None]
    position_GM = torch.tensor([[0.0, 1.0]])
    free, held = (
        float(alignment_score(reversed_BGTM, torch.tensor([2]), position_GM, 0.0, order)) for order in (0, 20)
    )
    assert free == pytest.approx(0.375)  # three of eight frames
    assert held < 0.1


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_gradients_are_finite_and_padded_steps_get_none(temperature):
    cosine_BGTM = random_cosines(7, 3).float().requires_grad_()
    position_GM = torch.tensor([[0.0, 0.5, 1.0]]).expand(3, -1)
    alignment_score(cosine_BGTM, torch.tensor([1, 2, 3]), position_GM, temperature, 0.1).sum().backward()
    assert cosine_BGTM.grad.isfinite().all()
    assert not cosine_BGTM.grad[:, 0, :, 1:].any()
    torch.testing.assert_close(cosine_BGTM.grad.sum((2, 3)), torch.ones(4, 3))


def test_unordered_is_the_mean_over_frames_and_own_steps():
    cosine_BGTM = random_cosines(5, 3)
    score_BG = unordered_score(cosine_BGTM, torch.tensor([1, 2, 3]))
    expected = [cosine_BGTM[:, g, :, : g + 1].mean((1, 2)) for g in range(3)]
    torch.testing.assert_close(score_BG, torch.stack(expected, 1))
    torch.testing.assert_close(score_BG, unordered_score(cosine_BGTM.flip(2), torch.tensor([1, 2, 3])))
