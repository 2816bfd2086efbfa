"""Formats of numbers in the report and in the terminal."""

MINUS = "\N{MINUS SIGN}"  # as wide as the plus


def format_value(value: float, unit: str) -> str:
    """Return a value as text: a share in percent, a rank with one decimal, another number with three digits."""
    if unit == "share":
        return f"{round(100 * value, 1) + 0.0:.1f}"
    return f"{value:.1f}" if unit == "rank" else f"{value:.3g}"


def format_percent(value: float, sign: bool = False) -> str:
    """Return a value between 0 and 1 in percent with one decimal, or a difference of two such values in points."""
    return f"{round(100 * value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", MINUS)


def with_sign(number: str) -> str:
    """Return a formatted number with its sign. Zero has none."""
    magnitude = number.removeprefix("-")
    if not magnitude.strip("0."):
        return magnitude
    return (MINUS if number.startswith("-") else "+") + magnitude


def format_p(p: float) -> str:
    """Return "p = ..." with three decimals below 0.1 and two above, or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_count(count: int | None) -> str:
    """Return a count with separators of thousands; "not recorded" for None."""
    return "not recorded" if count is None else f"{count:,}"


def count_of(count: int, noun: str) -> str:
    """Return a count with a noun, such as "1 thread" or "2 threads"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def join_names(names: list[str]) -> str:
    """Return names as a list in words, such as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
