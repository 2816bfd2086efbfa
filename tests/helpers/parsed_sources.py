"""Parse the code of kinetext, as each call of Snakemake does for its digests. Calls that are forked from a process that has
imported this find it parsed.
"""

from kinetext.core.digests import closure
from repository import ROOT

closure(["kinetext.cli"], root=ROOT / "src/kinetext")
