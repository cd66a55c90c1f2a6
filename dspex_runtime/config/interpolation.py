"""`${VAR}`, `${VAR:-default}` and `$$` in the text values of a file. Pure: the environment is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["interpolate"]

_PATTERN = re.compile(r"\$(?:(?P<escape>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{[^}]*\}?))")


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return the text with its variables replaced, and whether there were any.

    `${VAR:-default}` takes the default when VAR is unset or empty, as in sh; a `$` before anything else stays. Line breaks at the
    end of a value go, as in `$(cat file)`: a mounted secret has one, and in a header it makes an error that shows the secret.

    Raises:
        ValueError: A variable without default is not set, or a `${` is malformed; the text names all of them.
    """
    wrong: list[str] = []
    used = False

    def replace(match: re.Match[str]) -> str:
        nonlocal used
        if match["escape"]:
            return "$"
        if match["bad"]:
            wrong.append(f"found ${match['bad'][:40]!s}; allowed: ${{VAR}} or ${{VAR:-default}}, and $$ for a plain $")
            return ""
        used = True
        name, default = match["name"], match["default"]
        value = environ.get(name)
        if default is not None and not value:
            return default
        if value is None:
            wrong.append(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return ""
        if any("\ud800" <= char <= "\udfff" for char in value):  # os.environ keeps bytes that are not UTF-8 as surrogates
            wrong.append(f"the environment variable {name} is not UTF-8 text")
            return ""
        return value.rstrip("\r\n")

    result = _PATTERN.sub(replace, text)
    if wrong:
        raise ValueError("; ".join(dict.fromkeys(wrong)))
    return result, used
