"""The tables of all runs (`collect.py`) and the report on them (`render.py`).

A **comparison** is a data set, a protocol and a split of its clips, or the mean over several data sets. The **rows** of
a comparison are combinations of backbone, method and texts (`keys.py`). Statistics are in `evaluation/intervals.py` and
`evaluation/paired.py`.
"""
