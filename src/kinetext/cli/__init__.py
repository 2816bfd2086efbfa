"""The command line: one command per rule of the workflow, named like the rule, and commands for users.

A command parses its options and calls one function. Modules are imported inside the commands, so that every command
starts fast.
"""

import gc
import logging
import sys

import typer

from kinetext.cli import models, start, user, workflow
from kinetext.core.escape import for_terminal
from kinetext.core.files import disk_errno
from kinetext.core.pandas_import import block_pandas_import
from kinetext.core.torch_compiler import defer_torch_compiler

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare ways of teaching an image-text model motion on your own videos.",
)
for commands, panel in (
    (start.app, "Commands for users"),
    (user.app, "Commands for users"),
    (models.app, "Commands for users"),
    (workflow.app, "Steps of the workflow"),
):
    for command in commands.registered_commands:
        command.rich_help_panel = panel
    app.add_typer(commands)


def main() -> None:
    """Run the command line.

    A ValueError, exhausted memory and a file that the disk refuses are printed as one sentence, and the exit status is
    1. Any other error is shown with its traceback.
    """
    gc.set_threshold(100_000)  # importing torch makes millions of objects; collecting among them costs a second
    block_pandas_import()
    if sys.argv[1:2] in (["train-method"], ["tune-method"]):
        defer_torch_compiler()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    logging.getLogger("root").addFilter(
        lambda record: record.levelno >= logging.WARNING or "kinetext" in record.pathname
    )
    try:
        app()
    except ValueError as error:
        _print_error(f"kinetext: {error}")
        sys.exit(1)
    except MemoryError:
        _print_error(
            "kinetext: the memory is full; run fewer jobs at a time (`snakemake --cores`, `--resources mem_mb=...`), or "
            "set training.micro_batch lower"
        )
        sys.exit(1)
    except OSError as error:
        if disk_errno(error) is None:
            raise
        _print_error(f"kinetext: {error.filename or 'a file'}: {error.strerror}")
        sys.exit(1)


class _Formatter(logging.Formatter):
    """Formatter that begins kinetext's warnings with "warning: ". The end of a run repeats them (report/logs.py)."""

    def format(self, record: logging.LogRecord) -> str:
        text = for_terminal(super().format(record))
        is_warning = record.levelno >= logging.WARNING and record.name.startswith("kinetext")
        return f"warning: {text}" if is_warning else text


def _print_error(message: str) -> None:
    message = for_terminal(message)
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:  # stderr is the rule's log, which may be on the same full disk; Snakemake shows stdout
        print(message, flush=True)
