"""Small video encoders of transformers with random weights, saved as folders of the hub."""

import importlib.util

import pytest
import torch

HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None
needs_transformers = pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers: not installed (the extra `video`)")


def vjepa(num_labels=3, num_pooler_layers=1, **changed):
    """A V-JEPA 2 with a classification head: 64 px, tubelets of 2 frames, 2 layers of width 48."""
    import transformers

    sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    sizes |= {"num_pooler_layers": num_pooler_layers, **changed}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    shape = {"crop_size": 64, "patch_size": 32, "frames_per_clip": 8, "tubelet_size": 2, "num_labels": num_labels}
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(**sizes, **predictor, **shape)
    return _spread(transformers.VJEPA2ForVideoClassification(config))


def videomae(use_mean_pooling=True, num_labels=3):
    """A VideoMAE with a classification head: 64 px, 8 frames, tubelets of 2 frames, 2 layers of width 48."""
    import transformers

    sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 96}
    shape = {"image_size": 64, "patch_size": 32, "num_frames": 8, "tubelet_size": 2, "num_labels": num_labels}
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(**sizes, **shape, use_mean_pooling=use_mean_pooling)
    return _spread(transformers.VideoMAEForVideoClassification(config))


def _spread(model):
    """Return the model with noise on all parameters, so that biases and norms count."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()
