"""Check keys and servers with one request each: language models, tracking, and weights of backbones."""

import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from kinetext.config.experiment import Config
from kinetext.config.run import RunSpec
from kinetext.core import plugins
from kinetext.methods.base import configure_method
from kinetext.start.checks import Check
from kinetext.texts.cache import read_record
from kinetext.texts.chat.client import Server
from kinetext.texts.chat.options import ServerOptions
from kinetext.texts.chat.probe import probe_server
from kinetext.texts.providers.base import Provider, load_provider
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.tracking.store import find_store

TIMEOUT_S = 5.0


def check_texts(config: Config, runs: list[RunSpec], results: Path) -> Iterator[Check]:
    """Check the key and the server of each text set that a language model still has to write."""
    probed: dict[tuple[Server, str], str | None] = {}
    for name in dict.fromkeys(run.texts for run in runs):
        missing = [run for run in runs if run.texts == name and not texts_path(results, run).is_file()]
        try:
            providers = chat_providers(config, name, missing[0].dataset) if missing else {}
        except ValueError as error:  # a bank or a file of one data set, which the configuration alone does not show
            yield Check("stop", f"texts.{name}", str(error).removeprefix(f"texts.{name}: "))
            continue
        models = {(provider.config.server, provider.config.model) for provider in providers.values()}
        for where, provider in providers.items():
            model = provider.config.server, provider.config.model
            if model in models:  # two rounds may ask the same one
                models.remove(model)
                yield from _check_server(where, provider.config, provider.config.server, results, probed, name)


def check_methods(config: Config, runs: list[RunSpec], results: Path) -> Iterator[Check]:
    """Check the key and the server of each method that asks a model behind an API and is not done."""
    probed: dict[tuple[Server, str], str | None] = {}
    for name in dict.fromkeys(run.method for run in runs):
        missing = [run for run in runs if run.method == name and not _predictions(results, run).is_file()]
        options = server_options(missing[0]) if missing else None
        if options is not None:
            server = options.server_for(missing[0].method_module)
            yield from _check_server(f"methods.{name}", options, server, results, probed, name)


def server_options(run: RunSpec) -> ServerOptions | None:
    """Return the options of the server that the method of a run asks; None if it asks none."""
    _, options = configure_method(run.method_module, run.method_options)
    return options if isinstance(options, ServerOptions) else None


def _predictions(results: Path, run: RunSpec) -> Path:
    return results / "runs" / run.run / "predictions.parquet"


def _check_server(
    where: str,
    config: ServerOptions,
    server: Server,
    results: Path,
    probed: dict[tuple[Server, str], str | None],
    name: str,
) -> Iterator[Check]:
    """Check a key and a server. `probed` has the results of earlier requests; `name` is what to leave out of the runs."""
    cached = cached_replies(config, results / "cache")
    needed = f"all {'classes' if where.startswith('texts') else 'clips'} may be cached"
    needed = needed if cached else "none of its answers is cached"
    if server.needs_key and not os.environ.get(server.key_env, "").strip():
        remedy = f"`export {server.key_env}=YOUR_KEY`, or set base_url to a local server, or take the experiments with {name} out"
        yield Check("warning" if cached else "stop", where, f"no key in {server.key_env}, and {needed}", remedy)
        return
    key = (server, config.model)
    if key not in probed:
        probed[key] = probe_server(*key)
        if probed[key] is not None:
            yield Check("warning" if cached else "stop", where, f"{probed[key]} ({needed})")


def chat_providers(config: Config, name: str, dataset: str) -> dict[str, ChatApi]:
    """Return the providers of a text set that ask a language model, by their place: texts.NAME, texts.NAME.of, ...

    The second one is what the first one refines, and so on. A control has those of the text set that it rearranges.
    """
    options = config.texts[name].for_dataset(dataset)
    provider: Provider | None = load_provider(f"texts.{name}", options.module or name, options.options)
    asking: list[ChatApi] = []
    while provider is not None:
        asking += [provider] if isinstance(provider, ChatApi) else []
        provider = provider.source
    return {f"texts.{name}" + ".of" * number: provider for number, provider in enumerate(asking)}


def texts_path(results: Path, run: RunSpec) -> Path:
    """Return the path of the text set of a run."""
    return results / "data" / run.dataset / run.protocol / run.backbone / "texts" / f"{run.texts}.parquet"


def cached_replies(config: ServerOptions, cache: Path) -> int:
    """Return how many replies of this model at this server are cached. They may be about any classes or clips."""
    count = 0
    for path in (cache / "replies").glob("*.json"):
        try:
            request = read_record(path)["request"]
        except (ValueError, OSError):
            continue
        count += request.get("model") == config.model and request.get("base_url") == config.server.base_url
    return count


def check_tracking(config: Config, results: Path) -> Iterator[Check]:
    """Check that a tracking server can be reached. Runs do not need it: `kinetext sync-tracking` can log them later."""
    store = find_store(config.tracking, results)
    parts = urlsplit(store.uri)
    if store.local or not parts.hostname:
        return
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 5432)
    try:
        socket.create_connection((parts.hostname, port), TIMEOUT_S).close()
    except OSError as error:
        remedy = f"start it, or log the runs later with `kinetext sync-tracking {shlex.quote(str(results))}`"
        yield Check("warning", "tracking", f"no connection to {store} ({error.strerror or error})", remedy)


def check_weights(config: Config, runs: list[RunSpec], results: Path) -> Iterator[Check]:
    """Check that the weights of each backbone are on this machine or can be downloaded."""
    for name in dict.fromkeys(run.backbone for run in runs):
        if (results / "backbones" / name / "weights.safetensors").is_file():
            continue
        options = config.backbones[name]
        family = plugins.load("backbones", options.family)
        message, fatal = family.weights_state(plugins.configure(family, options.settings))
        if fatal:
            remedy = "check the network, or set `weights` to a local file of them"
            yield Check("stop", f"backbones.{name}", message, remedy)
        elif message:
            yield Check("note", f"backbones.{name}", message)
