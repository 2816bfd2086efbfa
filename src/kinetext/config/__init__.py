"""The keys of config.yaml and of run.yaml: a frozen pydantic model for each part, each key with its unit or its source.

Checks that need the plug-ins or the disk (is there such a method? does this folder exist?) are in plan.py.
"""
