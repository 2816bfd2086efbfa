"""Options of config.yaml and run.yaml: one frozen pydantic model per part, every option with its meaning, unit and
source.

Checks that need plug-ins or files, for instance whether a method or a folder exists, are in `plan`.
"""
