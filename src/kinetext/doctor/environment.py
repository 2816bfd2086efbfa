"""Check the installation: Python, the required packages, a matching pair of torch and torchvision, and GPUs."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from kinetext.doctor.files import Finding, first_line


def check_environment(package: str = "kinetext") -> Iterator[Finding]:
    """Yield findings about the running Python, the packages that `package` requires, and the GPUs."""
    python = platform.python_version()
    required = metadata.metadata(package)["Requires-Python"]
    if required and python not in SpecifierSet(required):
        yield Finding(sys.executable, f"is Python {python}, {package} needs {required}", "`make setup` installs one")
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(requirement.name, f"is not installed, {package} needs it", "`make setup`")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problem = f"is version {version}, {package} needs {requirement.specifier}"
            yield Finding(requirement.name, problem, "`make setup`")
    yield from _check_torch(python)


def _check_torch(python: str) -> Iterator[Finding]:
    """Import torch and torchvision; yield a finding with their versions and the GPUs.

    They are compiled against each other. With a wrong pair of versions, the import fails or operators are missing.
    """
    try:
        import torch
        import torchvision
    except Exception as error:
        versions = " and ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision"))
        repair = "install a pair of one release, from one index (cpu or cuda): `make setup`"
        yield Finding("torch", f"{versions} cannot be imported together ({first_line(error)})", repair)
        return
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    devices = f"GPU {', '.join(gpus)}" if gpus else "no GPU: everything is computed on the CPU"
    pair = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    yield Finding("environment", f"kinetext {_version('kinetext')}, Python {python}, {pair}, {devices}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
