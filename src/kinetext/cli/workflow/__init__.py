"""Commands of the workflow: one per rule, named like the rule, in the order of the data flow."""

import typer

from kinetext.cli.workflow import clips, results, runs, texts, tuning

app = typer.Typer()
for part in (clips, texts, tuning, runs, results):
    app.registered_commands += part.app.registered_commands
