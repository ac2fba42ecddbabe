r"""What a person is shown, so that it cannot lie: no character hides, and nothing is cut in silence.

A dialog that a model's words can repaint is no protection (S8 of the fault list: U+202E turns a text around, ANSI
sequences erase lines, characters without width hide in names). Every such character is written as `\u202e` is here.
"""

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, format, surrogate, private, unassigned
BLANK = "\u115f\u1160\u3164\uffa0"  # letters that show nothing
MOST_BYTES = 4_096
LAST_OF_PLANE = 0xFFFF


def escaped(text: str, *, keep: str = "\n\t") -> str:
    """Write a text so that each of its characters is seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in keep or not _hides(one) else _spelled(one) for one in text)


def _hides(one: str) -> bool:
    return unicodedata.category(one) in HIDDEN or one in BLANK


def _spelled(one: str) -> str:
    if ord(one) <= LAST_OF_PLANE:
        return f"\\u{ord(one):04x}"
    high, low = divmod(ord(one) - LAST_OF_PLANE - 1, 0x400)  # as JSON has it
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def capped(text: str, most: int = MOST_BYTES) -> str:
    """Escape a text, and show at most so many bytes of it; what is left out is said in so many words."""
    data = escaped(text).encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return data.decode()
    return f"{data[:most].decode('utf-8', 'ignore')}… ({len(data) - most:,} bytes hidden)"


def text_of(error: BaseException) -> str:
    """Return what an error says, as it can be kept: half a character is spelled, and a text that fails is said to."""
    try:
        said = str(error)
    except Exception as raised:  # noqa: BLE001 -- the class is the user's
        said = f"its text cannot be had: {type(raised).__name__}"
    return said.encode("utf-8", "backslashreplace").decode()
