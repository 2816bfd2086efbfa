"""MLflow, a view of what lies in the run folders; only this package knows it. What is logged: docs/tracking.md.

`store` where to and how to get in, `content` what a run folder says, `seeds` what its seeds say together, `figures` and
`model` what is made for MLflow alone, `log` how it gets there, `live` the curves of a training that is under way.

The results never depend on it: a tracking server that is down or slow costs a warning, and `kinetext sync-tracking`
makes the whole store again from the folders. Importing mlflow takes seconds, hence one process for many runs and the
imports inside the functions.
"""
