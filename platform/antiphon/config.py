"""Configs are frozen dataclasses; this file carries them to JSON and back, changes them by dotted names, signs them.

    experiment = override(experiment, ["optim.lr=3e-4", "model.num_shared_layers=8"])
    from_dict(Experiment, to_dict(experiment)) == experiment

Supported field types: bool, int, float, str, Path, Literal, X | None, tuple[X, ...], dict[str, X], dataclasses, and
unions of dataclasses that are told apart by a Literal field named `kind`.
"""

import dataclasses
import difflib
import hashlib
import json
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """Dataclasses, tuples and paths to plain JSON values; the inverse of `from_dict`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_dict(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """A dataclass from plain values. Raises ValueError that names the field, what it must be and what was found."""
    result: T = _parse(cls, data, where or cls.__name__)
    return result


def override(config: T, settings: Iterable[str]) -> T:
    """Apply dotted `name=value` settings, values written as YAML. An unknown name is refused with the nearest ones."""
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"an override must read name=value, but is {setting!r}")
        try:
            value = yaml.safe_load(text) if text.strip() else ""
        except yaml.YAMLError as error:
            raise ValueError(f"the value of {name.strip()} must be YAML, but {text!r} is not; quote it") from error
        config = _replace(config, type(config), name.strip().split("."), value, name.strip())
    return config


def signature(config: Any) -> str:
    """Twelve hex digits that name the resolved config: equal configs share them, others do not."""
    text = json.dumps(to_dict(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def json_schema(cls: Any) -> dict[str, Any]:
    """JSON Schema (2020-12) of a config dataclass, generated from its fields and types."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cls.__name__, **_schema(cls)}


def nearest(name: str, valid: Iterable[str]) -> str:
    """'did you mean a, b' or the full list when nothing is near: the end of an error about a misspelt name."""
    names = sorted(valid)
    close = difflib.get_close_matches(name.rsplit(".", 1)[-1], names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"valid names are {', '.join(names) or 'none'}"


def _replace(value: Any, kind: Any, path: list[str], setting: Any, name: str) -> Any:
    """The value with the part that path leads to parsed from setting: through dataclasses, dicts and tuples."""
    if not path:
        return _parse(kind, setting, name)
    step, rest = path[0], path[1:]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        _check_step(step, [field.name for field in dataclasses.fields(value)], name, type(value).__name__)
        return dataclasses.replace(value, **{step: _replace(getattr(value, step), hints[step], rest, setting, name)})
    if isinstance(value, Mapping):
        _check_step(step, value, name, "what is there")
        return {**value, step: _replace(value[step], get_args(kind)[1], rest, setting, name)}
    if isinstance(value, tuple):
        _check_step(step, [str(row) for row in range(len(value))], name, "the list")
        row = int(step)
        return (*value[:row], _replace(value[row], get_args(kind)[0], rest, setting, name), *value[row + 1 :])
    raise ValueError(f"{name} must name a field, but {step} is below a plain value; stop one step earlier")


def _check_step(step: str, valid: Iterable[str], name: str, where: str) -> None:
    if step not in valid:
        raise ValueError(f"{name} is not a field of {where}; {nearest(step, valid)}")


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin in (Union, types.UnionType):
        return _parse_union(args, value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(str, args))}, but is {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_parse(args[0], item, f"{where}[{row}]") for row, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _parse(args[1], item, f"{where}.{key}") for key, item in value.items()}
    return _parse_plain(origin or kind, value, where)


def _parse_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 3e-4 as a string
            return float(value)
        except ValueError:
            pass
    elif kind is Path and isinstance(value, str | Path):
        return Path(value)
    elif kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where} must be {kind.__name__}, but is {value!r}")


def _parse_dataclass(cls: Any, value: Any, where: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping of {cls.__name__}'s fields, but is {value!r}")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            raise ValueError(f"{where}.{name} is not a field of {cls.__name__}; {nearest(str(name), fields)}")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{name} must be given, but is missing")
    return cls(**{name: _parse(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _parse_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    choices = [kind for kind in kinds if kind is not type(None)]
    if len(choices) > 1 and isinstance(value, Mapping) and all(map(dataclasses.is_dataclass, choices)):
        by_kind = {next(f.default for f in dataclasses.fields(c) if f.name == "kind"): c for c in choices}
        if value.get("kind") not in by_kind:
            known = ", ".join(map(str, by_kind))
            raise ValueError(f"{where}.kind must be one of {known}, but is {value.get('kind')!r}")
        choices = [by_kind[value["kind"]]]
    errors = []
    for choice in choices:
        try:
            return _parse(choice, value, where)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(errors[0] if len(errors) == 1 else f"{where} fits none of its types: {'; '.join(errors)}")


def _schema(kind: Any) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = dataclasses.fields(kind)
        missing = dataclasses.MISSING
        required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
        properties = {field.name: _schema(hints[field.name]) for field in fields}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(arg) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    plain = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string", type(None): "null"}
    return {"type": plain[kind]} if kind in plain else {}
