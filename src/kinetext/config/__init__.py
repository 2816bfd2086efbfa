"""Options of config.yaml and run.yaml: one frozen pydantic model per part, which explains every option.

Checks that need plug-ins or files, for instance whether a method or a folder exists, are in `plan`.
"""
