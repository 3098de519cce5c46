# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Named tuples for what a push loads: `typing.NamedTuple` takes six times as long to create a class, in every push.

A record is declared, typed and used as a NamedTuple is; a subclass may check the values in `__new__`.

>>> class Place(Record):
...     name: str
...     line: int = 1
>>> Place("a.py")._replace(line=2)
Place(name='a.py', line=2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Record"]

if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    # Reads an item faster than a property does; collections has it on every Python.
    from collections import _tuplegetter

    class Record(tuple):
        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - as in a NamedTuple, and read only

        def __init_subclass__(cls):
            space = cls.__dict__
            # A subclass of a record without annotations of its own has the fields of the record.
            fields = tuple(space.get("__annotations__", ()))
            if fields:
                cls._fields = cls.__match_args__ = fields
                cls._field_defaults = {name: space[name] for name in fields if name in space}
                for place, name in enumerate(fields):
                    setattr(cls, name, _tuplegetter(place, None))

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                values = _complete(cls, values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _make(cls, values):
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, got {len(made)} values")
            return made

        def _replace(self, **changed):
            made = tuple.__new__(type(self), map(changed.pop, self._fields, self))
            if changed:
                raise ValueError(f"{type(self).__name__} has no fields {list(changed)!r}")
            return made

        # For copy.replace, from Python 3.13 on.
        __replace__ = _replace

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"


def _complete(cls: type, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
    """Return a value for each field, from arguments by place and by name and from defaults."""
    fields: tuple[str, ...] = cls._fields  # type: ignore[attr-defined] # of a Record
    known = {**cls._field_defaults, **dict(zip(fields, values, strict=False)), **named}  # type: ignore[attr-defined]
    doubled = set(fields[: len(values)]) & set(named)
    if len(values) > len(fields) or len(known) != len(fields) or doubled:
        unknown = sorted(set(known) - set(fields)) or sorted(doubled)
        missing = [name for name in fields if name not in known]
        raise TypeError(f"{cls.__name__} has the fields {', '.join(fields)}; missing {missing}, unexpected {unknown}")
    return tuple(known[name] for name in fields)
