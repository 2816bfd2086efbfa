"""The installation: are the packages there that kinetext needs, do torch and torchvision fit together, is there a GPU?"""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from kinetext.doctor.files import Said, first_line


def check_environment(package: str = "kinetext") -> Iterator[Said]:
    """What is wrong with the Python that this runs in, and its GPU, if any."""
    python = platform.python_version()
    wanted = metadata.metadata(package)["Requires-Python"]
    if wanted and python not in SpecifierSet(wanted):
        yield Said(sys.executable, f"is Python {python}, {package} needs {wanted}", "`make setup` brings one")
    for line in metadata.requires(package) or ():
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield Said(need.name, f"is not installed, {package} needs it", "`make setup`")
            continue
        if not need.specifier.contains(found, prereleases=True):
            yield Said(need.name, f"is version {found}, {package} needs {need.specifier}", "`make setup`")
    yield from _torch(python)


def _torch(python: str) -> Iterator[Said]:
    """The two are compiled against each other: of other versions, one fails on import, or has no operators."""
    try:
        import torch
        import torchvision
    except Exception as error:
        versions = " and ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision"))
        todo = "install a pair of one release, from one index (cpu or cuda): `make setup`"
        yield Said("torch", f"{versions} cannot be imported together ({first_line(error)})", todo)
        return
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    seen = f"GPU {', '.join(gpus)}" if gpus else "no GPU: all is computed on the CPU"
    pair = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    yield Said("environment", f"kinetext {_version('kinetext')}, Python {python}, {pair}, {seen}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
