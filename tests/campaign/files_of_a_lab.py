"""Files of the workspace itself, damaged or made by somebody else, and the verbs that read them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign import mutate
from tests.campaign.case import Case
from tests.campaign.lab import Lab

_LOOKS = (
    ["runs", "list"], ["runs", "show", "RUN"], ["data", "list"], ["data", "show", "DATA"],
    ["models", "list"], ["models", "show", "MODEL"], ["doctor"], ["runs", "reindex"],
)  # fmt: skip
_STATE = b'{"seq":9999,"time":1,"kind":"state","state":%s}\n'
_LINES = (
    b"[1]\n", b"5\n", b"null\n", b'"x"\n', b"\xff\xfe{}\n", b"\0" * 4096 + b"\n", b"{}\n",
    _STATE % b'"melted"', _STATE % b"[]", b'{"seq":9999,"kind":"iteration"}\n',
    b'{"seq":"a","time":"b","kind":"progress"}\n', b'{"kind":{}}\n', b"[" * 100_000 + b"\n",
    b'{"seq":' + b"9" * 5000 + b',"time":1,"kind":"state"}\n',
)  # fmt: skip


def cases(lab: Lab, count: int) -> Iterator[Case]:
    names = sorted(
        path.relative_to(lab.root).as_posix()
        for path in lab.root.rglob("*")
        if path.suffix in (".json", ".jsonl", ".yaml", ".npz", ".txt") or path.name == "lab.sqlite"
        if path.is_file() and "libraries" not in path.parts
    )
    for line in _LINES:
        name = (lab.run / "events.jsonl").relative_to(lab.root).as_posix()
        for look in _LOOKS[:2]:
            what = f"events.jsonl with a line {line[:24]!r}"
            yield _case(what, name, lambda data, chance, x=line: data + x, look)
    for number in range(count):
        name = names[number % len(names)]
        look = _LOOKS[(number // len(names) + number) % len(_LOOKS)]
        yield _case(f"{Path(name).name} mutant {number}", name, _mutant(name), look)


def _mutant(name: str) -> Callable[[bytes, random.Random], bytes]:
    def change(data: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.15:
            return b""
        if not name.endswith(".json") or chance.random() < 0.3:
            return mutate.bytes_(data, chance)
        return json.dumps(mutate.document(json.loads(data), chance)).encode()

    return change


def _case(
    what: str, name: str, change: Callable[[bytes, random.Random], bytes], look: list[str]
) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        lab = Lab(place / "lab")
        path = lab.root / name
        changed = change(path.read_bytes(), chance)
        os.unlink(path)
        path.write_bytes(changed)
        names = {"RUN": lab.run.name, "DATA": lab.dataset, "MODEL": lab.pruned}
        return [names.get(word, word) for word in look]

    return Case("files of the workspace", f"{what}: {' '.join(look)}", make, None, (0, 1, 2), True)
