"""Configs: there and back, dotted changes, errors that name the field, signatures, schemas."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import from_dict, json_schema, nearest, override, signature, to_dict


@dataclass(frozen=True, kw_only=True)
class Small:
    kind: Literal["small"] = "small"
    width: int = 3


@dataclass(frozen=True, kw_only=True)
class Large:
    kind: Literal["large"] = "large"
    depth: int = 9


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    rate: float = 1e-3
    flag: bool = False
    path: Path | None = None
    mode: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    table: dict[str, float] = field(default_factory=dict)
    part: Small | Large = field(default_factory=Small)


wholes = st.builds(
    Whole,
    name=st.text(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    path=st.none() | st.just(Path("a/b")),
    mode=st.sampled_from(["a", "b"]),
    sizes=st.lists(st.integers()).map(tuple),
    table=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    part=st.builds(Small, width=st.integers()) | st.builds(Large, depth=st.integers()),
)


@given(wholes)
def test_every_config_goes_to_json_and_back_and_fits_its_schema(config: Whole) -> None:
    plain = json.loads(json.dumps(to_dict(config)))
    assert from_dict(Whole, plain) == config
    jsonschema.validate(plain, json_schema(Whole))
    assert signature(from_dict(Whole, plain)) == signature(config)


@given(wholes, wholes)
def test_a_signature_names_one_config(one: Whole, other: Whole) -> None:
    written = [json.dumps(to_dict(config), sort_keys=True) for config in (one, other)]
    assert (signature(one) == signature(other)) == (written[0] == written[1])


def test_dotted_names_change_one_field_at_any_depth() -> None:
    config = override(Whole(name="x"), ["part.width=7", "rate=3e-4", "sizes=[4, 5]", "path=a/b", "flag=true", "mode=b"])
    wanted = replace(
        Whole(name="x"), rate=3e-4, sizes=(4, 5), path=Path("a/b"), flag=True, mode="b", part=Small(width=7)
    )
    assert config == wanted
    assert override(config, ["part={kind: large, depth: 2}"]).part == Large(depth=2)
    assert override(config, ["path=null"]).path is None
    assert override(config, ["sizes.1=9"]).sizes == (4, 9)
    assert override(replace(config, table={"a": 1.0, "b": 2.0}), ["table.b=3"]).table == {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("raet=1", "raet is not a field of Whole; did you mean rate"),
        ("part.widht=1", "did you mean width"),
        ("name.first=x", "below a plain value"),
        ("sizes.2=1", "sizes.2 is not a field of the list; valid names are 0, 1"),
        ("table.a=1", "table.a is not a field of what is there"),
        ("rate", "must read name=value"),
        ("rate=fast", "rate must be float, but is 'fast'"),
        ("flag=1", "flag must be bool"),
        ("part.width=true", "part.width must be int"),
        ("mode=c", "mode must be one of a, b"),
        ("part={kind: huge}", "part.kind must be one of small, large"),
        ("part={kind: large, width: 2}", "part.width is not a field of Large"),
        ("sizes=[1, x]", r"sizes\[1\] must be int"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        override(Whole(name="x"), [setting])


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Whole\.name must be given"):
        from_dict(Whole, {})


def test_near_names_come_first_and_all_names_where_none_is_near() -> None:
    assert nearest("learning_rat", ["learning_rate", "width"]) == "did you mean learning_rate?"
    assert nearest("zzz", ["b", "a"]) == "valid names are a, b"
