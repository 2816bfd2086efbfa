"""kinetext fetch: download public data sets by name, with licence, resumed downloads, checksums and safe unpacking."""
