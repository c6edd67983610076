"""Odd words after every option and argument of every verb, and odd plans and settings."""

from __future__ import annotations

import json
import os
import random
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from tests.campaign import mutate
from tests.campaign.case import Case
from tests.campaign.lab import Lab

_WORDS = ("", "-1", "0", "nan", "inf", "1e400", "9" * 400, "../../etc/passwd", "a\nb", "x" * 5000,
          "$(touch CANARY)", "\x1b[31m", "½", "²", "\udcff", "a b", "1,5", "--", "![x](y)",
          "=1+1", "*", "a\ud800")  # fmt: skip
# Where something is written, a word that names a real file must not do harm if we are wrong.
_PLACES = ("", "FOLDER/null", "FOLDER/socket", "/proc/x", "/proc/self/mem", "x" * 5000,
           "FOLDER/", "FOLDER/pipe", "FOLDER/none/deep/file.zip", "a\nb", "\udcff")  # fmt: skip
_WRITES = {"--out"}
# Verbs without words of their own, or whose work is a whole run in the foreground.
_LEFT_OUT = {"demo", "methods", "doctor", "serve", "app"}
_PLAN = (
    "name: a\ndataset: {data}\nimgsz: 64\nbaseline: {{model: {model}}}\nrows:\n"
    "  - {{key: l2, label: L2, settings: {{method: l2}}}}\nseeds: [0]\n"
)
_SETTINGS = ("seed=-1", "a", "=", "a=b", "finetune.lr0=nan", "finetune.epochs=1e9", "__class__=1",
             "msip.fusion=x", "msip.weights=5", "name", "msip..x=1", ".=1", "x" * 1000 + "=1",
             "limits.round_to=0", "calibration.batch=1e30", "keep_macs=[1,2]", "keep_macs={}",
             "modules=[]", "kind=train", "finetune.__dict__=1", "keep_macs=½")  # fmt: skip


def cases(lab: Lab, count: int) -> Iterator[Case]:
    """`count` is the number of mutated plans and configs, half of each."""
    for verb, options in _verbs():
        good = _good(lab).get(verb)
        if good is None:
            continue
        for option in options:
            # Not every word after every option: each option gets its own share of them.
            share = random.Random(f"{verb} {option}").sample(_WORDS, 10)
            for word in _PLACES if option in _WRITES else share:
                yield _case(f"{verb} {option} {word!r:.40}", _replaced(verb, good, option, word))
    for setting in _SETTINGS:
        good = _good(lab)["prune"]
        yield _case(f"--set {setting:.40}", _replaced("prune", good, "--set", setting))
    plan = _PLAN.format(data=lab.dataset, model=lab.baseline)
    config = json.loads((lab.run / "config.json").read_text(encoding="utf-8"))
    for number in range(count // 2):
        yield _plan(f"plan mutant {number}", lambda chance: mutate.text(plan, chance))
        yield _config(f"config mutant {number}", lambda chance: mutate.document(config, chance))


def _verbs() -> Iterator[tuple[str, list[str]]]:
    """Every verb with its options and arguments, as the command line itself lists them."""
    from msip_core.cli.main import app

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from walk(inner, (*path, name))
        else:
            flags = [p for p in command.params if getattr(p, "is_flag", False)]
            words = [p.opts[0] for p in command.params if p not in flags]
            yield " ".join(path), [w for w in words if w not in ("--workspace", "--json", "--help")]

    return walk(typer.main.get_command(app), ())


def _good(lab: Lab) -> dict[str, list[str]]:
    """Words that each verb understands; those with a value in pairs behind the arguments."""
    model, pruned, run = lab.baseline, lab.pruned, lab.run.name
    both = ["--baseline", model, "--pruned", pruned]
    return {
        "train": ["--detach", "--data", lab.dataset, "--weights", "yolov8n.yaml"],
        "prune": ["--detach", "--data", lab.dataset, "--model", model],
        "predict": [str(lab.image), "--model", model, "--out", "FOLDER/o", "--imgsz", "64"],
        "compare": [*both, "--data", lab.dataset, "--imgsz", "32", "--formats", "pytorch",
                    "--runs", "1"],
        "export": [model, "--format", "x"],
        "explain": ["FOLDER/none.png", *both, "--out", "FOLDER/o", "--imgsz", "32"],
        "data import": [str(lab.images), "--name", "hostile"],
        "data example": ["--name", "hostile", "--images", "4", "--size", "64"],
        "data show": [lab.dataset], "data export": [lab.dataset, "--out", "FOLDER/o"],
        "runs list": [], "runs show": [run], "runs pause": [run], "runs cancel": [run],
        "runs resume": [run, "--detach"], "runs follow": [run], "runs export": [run],
        "models show": [model], "models list": [],
        "study plan": ["table-3-1", "--out", "FOLDER/p.yaml", "--data", lab.dataset],
        "study run": ["table-3-1", "--detach", "--data", lab.dataset, "--size", "smoke"],
        "study show": ["x"], "study pause": ["x"], "study resume": ["x"], "study cancel": ["x"],
        "study add": ["x", "--key", "k", "--detach"],
    }  # fmt: skip


def _replaced(verb: str, good: list[str], option: str, word: str) -> list[str]:
    words = list(good)
    if not option.startswith("--"):  # an argument: the first word that is no option
        words = [word, *words[1:]] if words and not words[0].startswith("--") else [word, *words]
    elif option in words:
        words[words.index(option) + 1] = word
    else:
        words += [option, word]
    return [*verb.split(), *words]


def _case(what: str, words: list[str]) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        os.mkfifo(place / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place / "socket"))
        if os.geteuid() == 0:  # a device that may be lost: writing must not replace it
            os.mknod(place / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        return [word.replace("FOLDER", str(place)) for word in words]

    # 1: what was asked is understood and cannot be done, as writing to a place that is no disk.
    return Case("words of the command line", what, make, exits=(0, 1, 2))


def _plan(what: str, text: Callable[[random.Random], str]) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        data = text(chance).encode("utf-8", "surrogatepass")
        (place / "plan.yaml").write_bytes(data)
        return ["study", "run", str(place / "plan.yaml"), "--detach"]

    return Case("plans and settings", what, make)


def _config(what: str, value: Callable[[random.Random], Any]) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        (place / "config.json").write_text(json.dumps(value(chance)), encoding="utf-8")
        return ["prune", "--detach", "--config", str(place / "config.json")]

    return Case("plans and settings", what, make)
