"""The code that every other package uses: tables, files, paths, plug-ins, processes. It knows nothing of videos or
models.
"""
