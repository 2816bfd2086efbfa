"""The contrastive loss against STAN's released code, which has the sum of the two directions where ours has the mean."""

import pytest
import torch.nn.functional as F
from test_stan import RECORDED, closed_form

from kinetext.methods.base import contrastive_loss


@pytest.mark.parametrize("temperature", sorted(RECORDED["loss"]))
def test_twice_ours_is_the_originals(temperature):
    video_BD, text_BD = (F.normalize(closed_form(name, (12, 16)), dim=-1) for name in ("video_feat", "text_feat"))
    scores_BB = video_BD @ text_BD.T / float(temperature)
    assert 2 * contrastive_loss(scores_BB).item() == pytest.approx(RECORDED["loss"][temperature], rel=1e-9)
