"""Reads JSON objects into frozen dataclasses and writes them back, field by field.

A file that several modules read has one dataclass, so that a misspelt key is found by mypy and not
by a user. A field's type says what is read: another dataclass, `X | None`, `tuple[X, ...]`,
`tuple[X, Y]` or `Mapping[str, X]` of these; every other type takes the JSON value as it is, so
that a number keeps its spelling. Keys that the dataclass does not name are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from reportcard.core.errors import Json

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


# Metadata of a field that JSON leaves out while it is None.
OMITTED: Mapping[str, Any] = {"omitted": True, "without": ""}


def omitted_without(name: str) -> Mapping[str, Any]:
    """Return metadata of a field that JSON leaves out while it and the field `name` are None."""
    return {"omitted": True, "without": name}


def named(name: str) -> Mapping[str, Any]:
    """Return metadata of a field that has another name in JSON."""
    return {"name": name}


def to_json(record: Any) -> Any:
    """Return a record, or a container of records, as JSON; keys in the order of the fields.

    >>> from dataclasses import dataclass, field
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     label: str | None = field(default=None, metadata=OMITTED)
    >>> to_json((Point(1.0), Point(2.0, "b")))
    [{'x': 1.0}, {'x': 2.0, 'label': 'b'}]
    """
    if is_dataclass(record):
        found = {}
        for one in fields(record):
            value = getattr(record, one.name)
            if value is None and one.metadata.get("omitted"):
                without = one.metadata.get("without")
                if not without or getattr(record, without) is None:
                    continue
            found[one.metadata.get("name", one.name)] = to_json(value)
        return found
    if isinstance(record, Mapping):
        return {key: to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    return record


def from_json(kind: type[T], value: Any) -> T:
    """Read a JSON object into a dataclass.

    Raises ValueError naming the key that is absent or has another shape.
    """
    read: Reader = _reader(kind)  # type: ignore[arg-type]
    found: T = read(value, "")
    return found


@cache
def _reader(kind: Any) -> Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = [argument for argument in arguments if argument is not NoneType]
        return _optional(_reader(inner[0])) if len(inner) == 1 else _as_it_is
    if origin is tuple and arguments[-1] is Ellipsis:
        return _list(_reader(arguments[0]))
    if origin is tuple:
        return _fixed([_reader(argument) for argument in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping) and kind != Json:
        return _mapping(_reader(arguments[1]))
    return _record(kind) if is_dataclass(kind) else _as_it_is


def _as_it_is(value: Any, where: str) -> Any:
    return value


def _optional(read: Reader) -> Reader:
    return lambda value, where: None if value is None else read(value, where)


def _list(read: Reader) -> Reader:
    def items(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where or 'the value'} is not a list")
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return items


def _fixed(readers: list[Reader]) -> Reader:
    def items(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise ValueError(f"{where or 'the value'} is not a list of {len(readers)}")
        return tuple(read(item, where) for read, item in zip(readers, value, strict=True))

    return items


def _mapping(read: Reader) -> Reader:
    def items(value: Any, where: str) -> dict[str, Any]:
        found = _object(value, where)
        return {key: read(item, _below(where, key)) for key, item in found.items()}

    return items


def _record(kind: Any) -> Reader:
    def build(value: Any, where: str) -> Any:
        found = _object(value, where)
        given = {}
        for one in _fields(kind):
            if one.key in found:
                given[one.name] = one.read(found[one.key], _below(where, one.key))
            elif one.required:
                raise ValueError(f"no {_below(where, one.key)}")
        return kind(**given)

    return build


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'the value'} is not an object")
    return value


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


class _Field(NamedTuple):
    """A field of a record: its name, its key in JSON, and how it is read."""

    name: str
    key: str
    read: Reader
    required: bool


@cache
def _fields(kind: Any) -> list[_Field]:
    types = get_type_hints(kind)
    return [
        _Field(
            one.name,
            one.metadata.get("name", one.name),
            _reader(types[one.name]),
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in fields(kind)
    ]
