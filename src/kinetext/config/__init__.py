"""Options of config.yaml and run.yaml: one frozen pydantic model per part, with the meaning, unit and source of
options.

Checks that need plug-ins or files, for instance whether a method or a folder exists, are in `plan`.
"""
