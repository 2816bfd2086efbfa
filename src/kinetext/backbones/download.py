"""Check with one request whether weights are on this machine or can be downloaded, and find files of the Hugging Face
hub.
"""

import os
import urllib.request
from pathlib import Path

from kinetext.backbones.library import open_clip, published_tags

TIMEOUT_S = 10.0
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # open_clip's order


def weights_state(model: str, tag: str) -> tuple[str, bool]:
    """Return (note, whether the weights are unavailable) for an open_clip tag, without downloading the weights.

    The note states the download size or the problem. It is "" if the weights are on this machine.
    """
    tags = published_tags(model)
    if tag not in tags:
        return f"{model} has no pretrained tag '{tag}'; known: {', '.join(tags) or 'none'}", True
    settings = open_clip().get_pretrained_cfg(model, tag)
    hub = settings.get("hf_hub", "")
    try:
        size = _size_on_hub(hub) if hub else _size_at(settings["url"])
    except Exception as error:  # the hub's library raises its HTTP library's errors, too
        return (
            f"the weights '{tag}' of {model} are not on this machine and cannot be downloaded ({_reason(error)})",
            True,
        )
    return (f"{size / 1e6:.0f} MB of weights will be downloaded" if size else ""), False


def hub_state(repository: str, files: tuple[str, ...] = HUB_FILES) -> tuple[str, bool]:
    """Return (note, whether the weights are unavailable) for hf-hub:owner/name (see `weights_state`).

    The weights are the first of the files `files` that the repository has.
    """
    try:
        size = _size_on_hub(f"{repository}/", files)
    except Exception as error:
        return f"hf-hub:{repository} is not in the cache and cannot be downloaded ({_reason(error)})", True
    return (f"{size / 1e6:.0f} MB of weights will be downloaded" if size else ""), False


def hub_file(
    repository: str, names: tuple[str, ...], needed: str = f"open_clip_config.json and {HUB_FILES[0]}"
) -> Path:
    """Return the path of the first of the files `names` that is in the cache or can be downloaded from the repository.

    Cached files are tried first. Raises ValueError if no file is cached and none can be downloaded. `needed` names the
    files that the message asks for.
    """
    import huggingface_hub as hub

    for name in names:
        if (cached := cached_file(repository, name)) is not None:
            return cached
    reason = ""
    for name in names:
        try:
            return Path(hub.hf_hub_download(repository, name))
        except hub.errors.RemoteEntryNotFoundError:
            reason = f"it has no {' and no '.join(names)}"
        except Exception as error:  # the hub's library raises its HTTP library's errors, too
            reason = _reason(error)
            break
    raise ValueError(
        f"backbones: weights: hf-hub:{repository} is not in the cache and cannot be downloaded ({reason}); on a machine with "
        f"network, fetch it with `hf download {repository}`, then give the folder with {needed}"
    )


def cached_file(repository: str, name: str) -> Path | None:
    """Return the path of a file of a repository in the cache of the hub, None if it is not there."""
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repository, name)
    return Path(cached) if isinstance(cached, str) else None


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]


def _size_on_hub(name: str, default: tuple[str, ...] = HUB_FILES) -> int:
    """Return the number of bytes to download, 0 if the file is in the cache.

    `name` is owner/name/file; with an empty file name, the files `default` are tried. Raises the hub's errors if the
    hub cannot be reached or lacks the file.
    """
    import huggingface_hub as hub

    repo, file = os.path.split(name)
    files = (file,) if file else default
    if any(cached_file(repo, name) for name in files):
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
