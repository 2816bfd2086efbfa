"""Parse the code of kinetext, as each call of Snakemake does for its digests: half a second less for the calls that are forked
from the process that has imported this.
"""

from kinetext.core.digests import closure
from repository import ROOT

closure(["kinetext.cli"], root=ROOT / "src/kinetext")
