"""How classes are renamed on the command line: `--map old=new`."""

from __future__ import annotations

from msip_core.errors import ConfigError


def parse_class_map(words: list[str]) -> dict[str, str | None]:
    """`["cyst=no_crypt,late=crypt", "debris="]` -> old name to new name; an empty new name drops.

    Raises:
        ConfigError: a part without "=", or an old name that is given twice.
    """
    pairs: dict[str, str | None] = {}
    for part in ",".join(words).split(","):
        if not part.strip():
            continue
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not equals or not old:
            raise ConfigError(
                "'{part}' does not map a class: write --map old=new, or old= to drop a class.",
                part=part,
            )
        if old in pairs:
            raise ConfigError("The class '{old}' is mapped twice.", old=old)
        pairs[old] = new or None
    return pairs
