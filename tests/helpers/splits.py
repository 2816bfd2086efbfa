"""The table `splits` for tests that begin after it."""

from collections.abc import Sequence
from pathlib import Path

from kinetext.config.data import ProtocolOptions
from kinetext.data.splits import split_clips


def write_splits(clips: Path, novel: Sequence[str] = (), frames: Sequence[Path] = ()) -> Path:
    """The splits of a table `clips`, beside it: supervised, or base_to_novel if there are novel classes."""
    output = clips.with_name("-".join(["splits", *novel]).replace(" ", "_") + ".parquet")
    protocol = "base_to_novel" if novel else "supervised"
    split_clips("test", clips, list(frames), protocol, ProtocolOptions(novel=list(novel)), output)
    return output
