# Run by Snakemake once the environment exists: kinetext itself, from this checkout.
pip install --no-deps --editable .
