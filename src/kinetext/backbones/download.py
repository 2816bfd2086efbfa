"""Whether the weights of an open_clip tag are on this machine or can be downloaded: one request, without downloading them."""

import os
import urllib.request
from pathlib import Path

from kinetext.backbones.library import open_clip

TIMEOUT_S = 10.0
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # open_clip's order


def weights_state(model: str, tag: str) -> tuple[str, bool]:
    """Return what is to be known about the weights of a tag, "" if they are here, and whether they cannot be had."""
    tags = open_clip().list_pretrained_tags_by_model(model)
    if tag not in tags:
        return f"{model} has no pretrained tag '{tag}'; known: {', '.join(tags) or 'none'}", True
    settings = open_clip().get_pretrained_cfg(model, tag)
    hub = settings.get("hf_hub", "")
    try:
        size = _size_on_hub(hub) if hub else _size_at(settings["url"])
    except Exception as error:  # the hub's library raises its HTTP library's errors, too
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        return f"the weights '{tag}' of {model} are not on this machine and cannot be downloaded ({reason})", True
    return (f"{size / 1e6:.0f} MB of weights will be downloaded" if size else ""), False


def _size_on_hub(name: str) -> int:
    """Return the bytes to download, 0 if the file is in the cache. Raises if the hub cannot be reached."""
    import huggingface_hub as hub

    repo, file = os.path.split(name)
    files = (file,) if file else HUB_FILES
    if any(isinstance(hub.try_to_load_from_cache(repo, name), str) for name in files):
        return 0
    failure: Exception | None = None
    for name in files:
        try:
            return hub.get_hf_file_metadata(hub.hf_hub_url(repo, name), timeout=TIMEOUT_S).size or 1
        except hub.errors.EntryNotFoundError as error:
            failure = error
    assert failure is not None
    raise failure


def _size_at(url: str) -> int:
    if (Path("~/.cache/clip").expanduser() / os.path.basename(url)).is_file():
        return 0
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
        return int(reply.headers.get("Content-Length") or 1)
