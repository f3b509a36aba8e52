"""Texts that some reader takes for something else."""

import random
import re

# Taken for another text by people or programs: the provider in the second place must never be meant.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_LIKE = ("keyed", "groq")
_SQL = (
    "'", "''", '"', "`", "\\", "\\'", "';--", "'; DROP TABLE users; --", "' OR '1'='1", "1; SHUTDOWN", "$1", "$$", "%",
    "_", "%s", "*", "{keyed}", "E'\\x41'", "keyed'--", "keyed\\", "keyed%", "ke_ed", "key%d", "'||'keyed", "U&'\\0061'",
    "keyed/*", "*/keyed", "ASCII('a')", "{\"a\":1}", "[]", "null", "NULL", "true", "0", "-1", "NaN", "undefined",
)  # fmt: skip
_FORMATS = (
    "%s%s%s%n", "{0}", "{}", "{__class__}", "{self.__init__.__globals__}", "${jndi:ldap://x/a}", "{{7*7}}", "<%= 7 %>",
    "${7*7}", "#{7*7}", "%(name)s", "$(id)", "`id`", "| id", "; id", "&& id", "%00", "%0d%0a", "\\x00", "\\u0000",
    "<script>alert(1)</script>", "<!--", "]]>", "&lt;", "=cmd|' /C calc'!A0", "+1", "@SUM(1)", "-",
)  # fmt: skip
_PATHS = (
    "../", "..\\", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "C:\\", "\\\\host\\share", ".", "..", "/",
    "//", "keyed/..", "keyed/../spare", "./keyed", "~", "con", "nul", "keyed.", "keyed ", " keyed", "\tkeyed",
    "keyed\n",
)  # fmt: skip
_UNSEEN = (
    "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
    "\u2060", "\u2066",
    "\u2067", "\u2068", "\u2069", "\u00ad", "\ufeff", "\u034f", "\u115f", "\u3164", "\u00a0", "\u2003",
    "\u3000", "\u2028",
    "\u2029", "\u0085", "\u061c", "\u180e", "\ufe0f", "\U000e0041", "\0", "\x01", "\x07", "\x08", "\x1b[31m", "\x7f",
    "\r", "\n", "\t", "\v", "\f",
)  # fmt: skip
_HOMOGLYPHS = str.maketrans("keydgroq", "\u03ba\u0435\u0443\u0501\u0261\u0433\u043e\u051b")
_OTHER = (
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301", "\u00e9", "\ufb01", "\u0130",
    "\u0131", "\u00df",
    "\u1e9e", "\uffff", "\ufffe", "\U0010ffff", "\ue000", "\ud7ff", "Z\u0351\u036b\u0343", "\u0661\u0662",
    "KEYED", "Keyed",
    "kEYED", "Groq", "a" * 101, "a" * 255, "a" * 256, "a" * 1000, "a" * 10_000, "\u00e9" * 5_000, "\U0001f600" * 2_500,
)  # fmt: skip


def hostile_names(seed: int = 40, more: int = 30) -> list[str]:
    """Texts that are no names of providers; each once, always in the same order."""
    rng = random.Random(seed)
    unseen = [spot for mark in _UNSEEN for spot in (f"keyed{mark}", f"ke{mark}yed")]
    wide = ["".join(chr(ord(char) + 0xFEE0) for char in like) for like in _LIKE]
    alike = [like[:at] + like[at].translate(_HOMOGLYPHS) + like[at + 1 :] for like in _LIKE for at in range(len(like))]
    mixed = ["".join(rng.choices((*_SQL, *_FORMATS, *_UNSEEN, *_PATHS), k=rng.randint(2, 5))) for _ in range(more)]
    found = [*_SQL, *_FORMATS, *_PATHS, *unseen, *wide, *alike, *_OTHER, *mixed, "keyed\0spare"]
    return [text for text in dict.fromkeys(found) if not _NAME.fullmatch(text)]
