"""Redactor of passwords and tokens, through which every source passes that is printed or stored.

``redact`` takes any text, a sentence that names an address as well; ``redact_address`` takes one
source as the user typed it, where more can be recognised. Both leave what they masked alone, so a
text may pass through them twice. Repeats in the patterns are bounded, so that the time grows with
the length of a text and not with its square.
"""

import re

MASK = "***"

#: Schemes whose second slash may be missing: pathlib drops it.
_SCHEME = r"(?:(?!file:)[a-z][a-z0-9+.-]{1,20}://|(?:rtsp|http|rtmp|ftp)s?:/|srt:/)(?!/)"
#: user:password@, also with / ? # or @ in the password. host:554/ is no password.
_PASSWORD = re.compile(rf"({_SCHEME}[^\s/?#@:\[]{{0,256}}:)(?!\d{{1,5}}[/?#])\S{{0,1024}}@", re.I)
#: user@ alone, which is how tokens are given.
_USER = re.compile(rf"({_SCHEME})[^\s/?#@:]{{1,1024}}@", re.I)

_QUOTED = r"""\\?"(?:\\.|[^"\\])*"?|\\?'(?:\\.|[^'\\])*'?"""
_VALUE = rf"""(?:{_QUOTED}|(?:\\.|[^\s&"'\\])+)"""
#: Names that say it wherever they stand: ?password=, user-pw= of GStreamer, &accessToken=.
_SECRET = (
    r"(?:[\w.-]*(?:password|passwd|passphrase|passcode|pwd|loginpas|secret|token|credentials?|"
    r"authorization|api[_-]?key|access[_-]?key|private[_-]?key|stream[_-]?key|[_-]pw|[_-]pass))\d*"
)
#: Names that say it in the query of an address only.
_IN_QUERY = r"(?:pass?|pw|psk|key|code|auth|authkey|sig|signature|jwt|sid|session(?:_?id)?)"
_NAMED = re.compile(
    rf"(?<![\w.-])({_SECRET}\s{{0,8}}(?:=|%3d)\s{{0,8}})(?:\(\w+\)\s*)?{_VALUE}"
    rf"|(?<=[?&;])({_IN_QUERY}(?:=|%3d))[^\s&\"']+",
    re.I,
)
#: The same in the whole of one address, where a blank is part of a password.
_WHOLE = re.compile(rf"\A({_SCHEME}[^\s/?#@:\[]*:)(?!\d{{1,5}}[/?#]).*@", re.I | re.S)
#: user:password@host, its scheme forgotten.
_BARE = re.compile(r"\A([a-z][^\s/?#@:]*:)[^/]+@(?=[\w.\[-])", re.I)


def redact(text: str) -> str:
    """The text with the passwords and tokens in its addresses and NAME=VALUE pairs as ``***``."""
    if "@" in text:
        text = _PASSWORD.sub(rf"\1{MASK}@", text)
        text = _USER.sub(rf"\1{MASK}@", text)
    if "=" in text or "%3" in text:
        text = _NAMED.sub(lambda found: f"{found[1] or found[2]}{MASK}", text)
    return text


def redact_address(source: str) -> str:
    """One source (address, pipeline or path) as it may be shown."""
    if not source.lower().startswith("gst:"):
        source = _WHOLE.sub(rf"\1{MASK}@", source)
        source = _BARE.sub(rf"\1{MASK}@", source)
    return redact(source)
