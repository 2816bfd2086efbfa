"""The contrastive loss of features that two processes share has the gradient of one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from kinetext.methods.base import contrastive_loss, sigmoid_loss
from kinetext.training.distributed_step import unreached
from kinetext.training.gather import gather_features

SIZES = [(4, 4), (5, 3), (8, 0)]  # clips of each process


def cosines(video_BD, text_BD):
    return F.normalize(video_BD, dim=-1) @ F.normalize(text_BD, dim=-1).T


class Towers(torch.nn.Module):
    """A video and a text side of one layer each, and the bias of the sigmoid loss."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        generator = torch.Generator().manual_seed(1)
        self.video = torch.nn.Parameter(torch.randn(6, 4, generator=generator, dtype=torch.float64))
        self.text = torch.nn.Parameter(torch.randn(6, 4, generator=generator, dtype=torch.float64))

        if loss == "sigmoid":
            self.bias = torch.nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))

    def forward(self, video_BI, text_BI, sizes):
        video, text = (
            gather_features(video_BI @ self.video, sizes),
            gather_features((text_BI @ self.text, text_BI), sizes),
        )
        assert isinstance(text, tuple)
        scores_BB = 10 * cosines(video, text[0])
        if self.loss == "sigmoid":
            return sigmoid_loss(scores_BB + self.bias, torch.arange(len(scores_BB)))
        return contrastive_loss(scores_BB, 0.1)


def batch():
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(8, 6, generator=generator, dtype=torch.float64) for _ in range(2))


def part_of_two(rank, folder, loss_name):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for number, sizes in enumerate(SIZES):
        towers = torch.nn.parallel.DistributedDataParallel(Towers(loss_name))
        video, text = (x.split(sizes)[rank] for x in batch())
        loss = towers(video, text, sizes)
        loss.backward()
        gradients = [p.grad for p in towers.module.parameters()]
        torch.save([loss.detach(), *gradients], f"{folder}/{number}_{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("loss_name", ["softmax", "sigmoid"])
def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(tmp_path, loss_name):
    mp.spawn(part_of_two, (str(tmp_path), loss_name), nprocs=2)
    towers = Towers(loss_name)
    loss = towers(*batch(), (8,))
    loss.backward()
    expected = [loss.detach(), *(p.grad for p in towers.parameters())]
    for number in range(len(SIZES)):
        for rank in range(2):
            for ours, whole in zip(torch.load(tmp_path / f"{number}_{rank}.pt"), expected, strict=True):
                torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-12)


def test_parameters_without_a_path_to_the_loss_are_found_before_the_reduction_gives_them_zeros():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    loss = (used * 3).sum()
    assert unreached(loss, [used, unused]) == {id(unused)}
    loss.backward()  # the graph is still there
    assert torch.equal(used.grad, torch.full((2,), 3.0))
