"""How good input is made bad: bytes, numbers in text, nodes of documents."""

from __future__ import annotations

import json
import random
import re
from typing import Any

NUMBERS = (
    "-1", "0", "1e400", "-1e400", "nan", "inf", "1e308", "9" * 400, "½", "٣", "1_0", "0x1", "1,5",
    "-0.0", "1e-320", "2147483648", "99999999999999999999", "+-1", "1.2.3", "",
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a\nb", "../../CANARY", "/etc/passwd", "C:\\x", "x" * 5000, "\x1b[2J", "=1+1",
    "@SUM(A1)", "![x](http://127.0.0.1:9/x.png)", "<script>alert(1)</script>", "$x^2$", "\u202egnp",
    "e\u0301", "no", "null", "1", "true", "*a", "!!python/name:os.system", "%s%n", "{0}", "\ufeff",
)  # fmt: skip
NODES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, float("nan"), float("inf"), [], {}, [[]], [None], {"a": {}},
    "nan", [1, [2, [3]]], *TEXTS[:12],
)  # fmt: skip


def flip(data: bytes, chance: random.Random, *, most: int = 12) -> bytes:
    """Some bytes replaced, in the front part (headers) or anywhere."""
    changed = bytearray(data)
    end = len(changed) if chance.random() < 0.5 else min(400, len(changed))
    for _ in range(chance.randint(1, most) if end else 0):
        changed[chance.randrange(end)] = chance.randrange(256)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def splice(data: bytes, chance: random.Random) -> bytes:
    """A piece taken out, doubled or moved."""
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice([data[:a] + data[b:], data[:b] + data[a:], data[b:] + data[a:b]])


def bytes_(data: bytes, chance: random.Random) -> bytes:
    return chance.choice([flip, flip, cut, splice])(data, chance)


def text(good: str, chance: random.Random) -> str:
    """One number or word replaced, a line doubled, a separator changed."""
    spots = list(re.finditer(r"[\w.+-]+", good))
    for _ in range(chance.choice([1, 1, 3])):
        if not spots:
            break
        spot = chance.choice(spots)
        word = chance.choice(NUMBERS if chance.random() < 0.7 else TEXTS)
        good = good[: spot.start()] + word + good[spot.end() :]
        spots = list(re.finditer(r"[\w.+-]+", good))
    how = chance.random()
    if how < 0.1:
        return good.replace(" ", chance.choice(["\t", ",", ";", "  ", "\u00a0"]))
    if how < 0.2:
        return good + good
    return good


def document(good: Any, chance: random.Random) -> Any:
    """A copy with one node replaced, left out, doubled or put under another name."""
    changed = json.loads(json.dumps(good))
    places = list(_places(changed))
    if not places:
        return chance.choice(NODES)
    parent, key = chance.choice(places)
    how = chance.random()
    if how < 0.7:
        parent[key] = chance.choice(NODES)
    elif how < 0.85 or isinstance(parent, list):
        del parent[key]
    else:
        parent[str(chance.choice(TEXTS))] = parent.pop(key)
    return changed


def _places(node: Any) -> Any:
    keys: Any = (
        node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    )
    for key in list(keys):
        yield node, key
        yield from _places(node[key])
