# The user's files as inputs of rules: functions of wildcards.

import re

from kinetext.data.lists import file_state

READ_AS_PATTERN = re.compile("[{}<>]")  # in a path that Snakemake takes for one with wildcards


def dataset_files(w):
    """Return the annotation files of a data set and the folders of its videos: a new video changes its folder's time."""
    return dataset_inputs(CONFIG.datasets[w.dataset], w.dataset)


def shot_files(w):
    """Return the files that list the training clips of a few-shot protocol."""
    return list(protocol_options(CONFIG.datasets[w.dataset], w.protocol).shots.values())


def rival_files(w):
    """Return the user's table of confusable classes, if there is one."""
    file = mining_options(CONFIG, w.dataset).file
    return [file] if file else []


def text_sources(w):
    """Return the files that a text set is made from."""
    return text_inputs(CONFIG.texts[w.texts].for_dataset(w.dataset), w.texts)


def user_inputs(files):
    """Return an input function: the user's files, without those whose paths Snakemake would take for patterns."""
    return lambda w: local_inputs(files(w))


def pattern_states(files):
    """Return a function for `params`: the files that `user_inputs` leaves out, each with its state.

    A class folder may be named `{x}` or `<x>`. As a parameter, its change reruns the rule as a change of an input would.
    """
    return lambda w: [[file, *file_state(file)] for file in files(w) if READ_AS_PATTERN.search(file)]
