r"""Final answers: GSM8K's number and MATH's boxed expression, read from a text and normalised."""

import re

_NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\$?\.\d+")
_MARK = "####"
_BOXES = (r"\boxed", r"\fbox")
_DROPPED = (
    r"\left",
    r"\right",
    r"\!",
    r"\,",
    r"\;",
    r"\ ",
    r"\$",
    "$",
    r"\%",
    "%",
    r"\displaystyle",
)
_DEGREES = re.compile(r"\^(\{\\circ\}|\\circ)")
_WORDS = re.compile(r"\\(?:text|mbox|textbf|mathrm)\{\s*([^{}]*?)\s*\}")
_SHORT_FRACTION = re.compile(r"\\frac(?:\{([^{}]+)\}|(\w))(?:\{([^{}]+)\}|(\w))")
_SLASH = re.compile(r"(-?\d+)/(\d+)")
_SHORT_ROOT = re.compile(r"\\sqrt(\w)")


def marked_number(text: str) -> str | None:
    """The number after the last ``####``, as GSM8K marks final answers; None where none is.

    Args:
        text: an answer.

    Example:
        >>> marked_number("so 1,200 in all\\n#### 1,200"), marked_number("1,200")
        ('1200', None)
    """
    _, mark, after = text.rpartition(_MARK)
    found = _NUMBER.search(after) if mark else None
    return None if found is None else _plain(found.group())


def final_number(text: str) -> str | None:
    """The number that a text ends in: the marked one, or else the last there is.

    Args:
        text: an answer of anybody's.

    Example:
        >>> final_number("She has 3 + 15 = $18.00."), final_number("none")
        ('18', None)
    """
    marked = marked_number(text)
    if marked is not None:
        return marked
    found = _NUMBER.findall(text)
    return _plain(found[-1]) if found else None


def boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{}`` of a text, braces matched; None where none is whole.

    Args:
        text: a solution.

    Example:
        >>> boxed(r"Thus $\boxed{\frac{1}{2}}$."), boxed(r"\boxed 7")
        ('\\frac{1}{2}', '7')
    """
    start = max((text.rfind(box) + len(box) for box in _BOXES if box in text), default=-1)
    if start < 0:
        return None
    rest = text[start:].lstrip()
    if not rest.startswith("{"):
        word = rest.split("$")[0].split()
        return word[0] if word else None
    depth = 0
    for at, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:at]
    return None


def normalised(expression: str) -> str:
    r"""An expression of LaTeX in one spelling: spaces, units and short fractions undone.

    It compares spellings, not values: ``1/2`` is ``\frac{1}{2}``, but ``0.5`` is not.

    Args:
        expression: what was boxed.

    Example:
        >>> [normalised(x) for x in (r"\dfrac 12", "1/2", r"x = 5\text{ cm}", r"10\%", "1,000.0")]
        ['\\frac{1}{2}', '\\frac{1}{2}', '5', '10', '1000']
    """
    text = expression.strip().rstrip(".")
    text = text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    text = _DEGREES.sub("", text)
    for dropped in _DROPPED:
        text = text.replace(dropped, "")
    alone = _WORDS.fullmatch(text.strip())
    text = alone.group(1) if alone else _WORDS.sub("", text)  # words are the answer, or a unit
    text = "".join(text.split())
    name, equals, value = text.partition("=")
    if equals and len(name) <= 2 and "=" not in value:
        text = value
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _SHORT_FRACTION.sub(_whole_fraction, text)
    slash = _SLASH.fullmatch(text)
    if slash:
        return rf"\frac{{{slash[1]}}}{{{slash[2]}}}"
    return _plain(text) if _NUMBER.fullmatch(text) else text


def _whole_fraction(found: re.Match[str]) -> str:
    above, below = found[1] or found[2], found[3] or found[4]
    return rf"\frac{{{above}}}{{{below}}}"


def _plain(number: str) -> str:
    """Digits alone: no thousands, currency, needless zeros."""
    digits = number.replace(",", "").replace("$", "")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    digits = digits.lstrip("0") if not digits.startswith("0.") else digits
    digits = "0" + digits if digits.startswith(".") or not digits else digits
    return digits if digits == "0" else sign + digits
