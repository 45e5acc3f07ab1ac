"""Texts that hold file names, made fit for UTF-8 and for a terminal.

A name of a file may be any bytes: Latin-1 from an old archive, line feeds, the escape sequences
of a terminal, blanks that a shell splits at.
"""

import shlex


def utf8(text: str) -> str:
    r"""The text with every byte that is no UTF-8 (a lone surrogate, in Python) as ``\xe9``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_byte(c) for c in text)
    return text


def printable(text: str) -> str:
    r"""``utf8``, and control characters (line feeds too) as ``\n``, ``\x1b``: one harmless line."""
    return "".join(c if c.isprintable() else _escape(c) for c in utf8(text))


def counted(number: int, noun: str, *, spec: str = "") -> str:
    """``1 image``, ``2 images``; ``spec`` formats the number, as after the colon of an f-string."""
    plural = noun[:-1] + "ies" if noun.endswith(("ry", "ty")) else noun + "s"
    return f"{number:{spec}} {noun if number == 1 else plural}"


def _byte(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else character


def _escape(character: str) -> str:
    if character.isspace() and character not in "\t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029":
        return character  # blanks of other widths
    return character.encode("unicode_escape").decode()


def shell_word(value: object) -> str:
    """A path as one word of a command that a user copies into a shell."""
    text = str(value)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
