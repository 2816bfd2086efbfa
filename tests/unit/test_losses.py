"""The contrastive loss against numbers by hand and of STAN's code, and its gradient over several processes."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from kinetext.methods.base import contrastive_loss
from kinetext.training.gather import gather_features
from repository import ROOT

RECORDED = json.loads((ROOT / "tests/parity/stan_closed_form.json").read_text())


def cosines(video_BD, text_BD):
    return F.normalize(video_BD, dim=-1) @ F.normalize(text_BD, dim=-1).T


def test_by_hand():
    scores_BB = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    rows = -torch.log_softmax(scores_BB, 1).diag().mean()
    columns = -torch.log_softmax(scores_BB, 0).diag().mean()
    assert contrastive_loss(scores_BB).item() == pytest.approx(((rows + columns) / 2).item())
    assert contrastive_loss(torch.zeros(1, 1)).item() == 0.0


def test_turned_over_it_is_the_same():
    scores_BB = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    assert contrastive_loss(scores_BB).item() == pytest.approx(contrastive_loss(scores_BB.T).item())


class Towers(torch.nn.Module):
    """A video and a text side of one layer each."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.video = torch.nn.Parameter(torch.randn(6, 4, generator=generator, dtype=torch.float64))
        self.text = torch.nn.Parameter(torch.randn(6, 4, generator=generator, dtype=torch.float64))

    def forward(self, video_BI, text_BI, sizes):
        video, text = (
            gather_features(video_BI @ self.video, sizes),
            gather_features((text_BI @ self.text, text_BI), sizes),
        )
        assert isinstance(text, tuple)
        return contrastive_loss(10 * cosines(video, text[0]), 0.1)


def batch():
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(8, 6, generator=generator, dtype=torch.float64) for _ in range(2))


def part_of_two(rank, folder, sizes):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    towers = torch.nn.parallel.DistributedDataParallel(Towers())
    video, text = (x.split(sizes)[rank] for x in batch())
    loss = towers(video, text, sizes)
    loss.backward()
    gradients = [p.grad for p in towers.module.parameters()]
    torch.save([loss.detach(), *gradients], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (8, 0)])
def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(tmp_path, sizes):
    mp.spawn(part_of_two, (str(tmp_path), sizes), nprocs=2)
    towers = Towers()
    loss = towers(*batch(), (8,))
    loss.backward()
    for rank in range(2):
        part = torch.load(tmp_path / f"{rank}.pt")
        for ours, whole in zip(part, [loss.detach(), *(p.grad for p in towers.parameters())], strict=True):
            torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-12)


def test_one_process_has_what_came_in():
    features = torch.ones(2, 3)
    assert gather_features(features, (2,)) is features
