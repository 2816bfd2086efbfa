"""Log run folders to MLflow. Only this package imports MLflow. docs/tracking.md lists what is logged.

`store` finds the tracking store and opens a client; `content` reads a run folder; `seeds` summarises the seeds of a
run; `figures`, `files` and `model` write the files that are logged; `send` calls MLflow; `log` has the commands; `live`
sends the curves of a running training.

Results do not depend on MLflow. If a tracking server is down or slow, a warning is logged, and `kinetext sync-tracking`
fills the store from the run folders later. Importing mlflow takes seconds, so functions import it only when needed, and
one process logs many runs.
"""
