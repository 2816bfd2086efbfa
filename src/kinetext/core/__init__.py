"""What every part stands on: tables, files, paths, plug-ins, processes. No science."""
