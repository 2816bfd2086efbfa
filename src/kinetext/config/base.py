"""Types that several parts of the configuration share."""

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # becomes a folder name
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
