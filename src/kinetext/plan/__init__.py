"""Check a configuration and plan its runs. The Snakefile imports this package, so importing it must be fast.

`check` checks a whole configuration. `experiments` checks that the parts of an experiment fit together, and `tuning`
checks the settings that tuning tries. `runs` specifies each run. `inputs` returns the files and modules of each part.
"""

from kinetext.config.data import source_dataset
from kinetext.plan.check import check_config, load_config
from kinetext.plan.inputs import (
    dataset_inputs,
    defining_options,
    has_captions,
    hub_facts,
    is_multi_label,
    metric_modules,
    mining_options,
    reads_clips,
    text_inputs,
    text_limit,
    text_modules,
)
from kinetext.plan.runs import (
    frame_sets,
    is_fitted,
    is_quick,
    method_trains,
    plan_run,
    plan_runs,
    protocol_options,
    reads_frames,
    smallest_frames,
    tuned_runs,
)

__all__ = [
    "check_config",
    "dataset_inputs",
    "defining_options",
    "frame_sets",
    "has_captions",
    "hub_facts",
    "is_fitted",
    "is_multi_label",
    "is_quick",
    "load_config",
    "method_trains",
    "metric_modules",
    "mining_options",
    "plan_run",
    "plan_runs",
    "protocol_options",
    "reads_clips",
    "reads_frames",
    "smallest_frames",
    "source_dataset",
    "text_inputs",
    "text_limit",
    "text_modules",
    "tuned_runs",
]
