"""Settings that a person typed or named: `--config FILE`, `--set NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msip_core.bounded import UnreadableError, load_json, read_text_file
from msip_core.config import PruneConfig, TrainConfig, parse_training_config
from msip_core.errors import ConfigError
from msip_core.wrong_settings import short

_DEEPEST = 5  # names in a setting's name


def read_run_config(path: Path) -> TrainConfig | PruneConfig:
    """The settings in a config.json, checked.

    Raises:
        ConfigError: it cannot be read, is no JSON, or holds a setting that no run can have.
    """
    try:
        value = load_json(read_text_file(path))
    except UnreadableError as error:
        raise ConfigError(
            "The settings in {path} cannot be read: {error}.", path=path, error=error
        ) from error
    if not isinstance(value, dict):
        raise ConfigError("{path} holds no settings: give the config.json of a run.", path=path)
    return parse_training_config(value)


def with_settings(
    config: TrainConfig | PruneConfig, changes: Sequence[str]
) -> TrainConfig | PruneConfig:
    """The config with some settings changed by their dotted names, as `msip.fusion=rank`.

    Values are JSON where they can be read as such, else text.

    Raises:
        ConfigError: a name that is no setting, or a value that it cannot have.
    """
    value = config.model_dump(mode="json")
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign:
            raise ConfigError(
                "'{given}' is no setting: write its name, '=' and a value, such as "
                "msip.fusion=rank.",
                given=short(change),
            )
        *path, last = name.strip().split(".")
        place: Any = value
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ConfigError(
                "There is no setting '{name}': `runs show` lists all settings of a run by name.",
                name=short(name),
            )
        place[last] = _read(text)
    return parse_training_config(value)


def read_settings(changes: Sequence[str]) -> dict[str, object]:
    """`("method=hrank", "msip.fusion=rank")` as nested settings, unchecked.

    Raises:
        ConfigError: one without a name or a value.
    """
    found: dict[str, object] = {}
    for change in changes:
        name, sign, text = change.partition("=")
        *path, last = name.strip().split(".")
        if not sign or not all((*path, last)) or len(path) > _DEEPEST:
            raise ConfigError(
                "'{given}' is no setting: write its name, '=' and a value, such as method=l2.",
                given=short(change),
            )
        place: Any = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    "'{given}' lies in a setting that was given a value.", given=short(name)
                )
        place[last] = _read(text)
    return found


def _read(text: str) -> Any:
    try:
        return load_json(text)
    except UnreadableError:
        return text
