"""MLflow as a view of the run folders; only this package imports it. docs/tracking.md lists what is logged.

`store` finds the tracking store and opens a client; `content` reads a run folder; `seeds` summarises the seeds of a
run; `figures`, `files` and `model` write the files that are logged; `send` calls MLflow; `log` has the commands; `live`
sends the curves of a running training.

Results do not depend on MLflow. A tracking server that is down or slow causes a warning, and `kinetext sync-tracking`
fills the store from the run folders again. Importing mlflow takes seconds: one process logs many runs, and functions
import it.
"""
