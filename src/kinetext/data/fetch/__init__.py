"""kinetext fetch: public data sets by their names, with licence, resumed downloads, checksums and safe unpacking."""
