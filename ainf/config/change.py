"""What is other in a new configuration, and which of that a running gateway cannot take over."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from ainf.config.declared import settings_of
from ainf.config.lines import dotted
from ainf.config.schema import NAMED_TABLES, TABLES, Config

LASTING_TABLES: Final = ("server", "store", "limits")
"""Tables whose settings a process keeps as it began with them."""


@attrs.frozen
class Change:
    """What is other in a new configuration, each by its dotted key; sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the dotted keys of settings that differ and that only a restart changes."""
    return [key for table in LASTING_TABLES for key in _differing(table, getattr(old, table), getattr(new, table))]


def change_of(old: Config, new: Config) -> Change:
    """Return what is other in a new configuration: single settings, but providers, models and targets as wholes."""
    plain = [table for table in TABLES if table not in NAMED_TABLES]
    before, after = dict(_named(old)), dict(_named(new))
    changed = [key for table in plain for key in _differing(table, getattr(old, table), getattr(new, table))]
    changed += [key for key in before.keys() & after.keys() if before[key] != after[key]]
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(changed)),
    )


def _differing(table: str, old: object, new: object) -> Iterator[str]:
    for key, _, field in settings_of(type(old)):
        if getattr(old, field.name) != getattr(new, field.name):
            yield dotted((table, key))


def _named(config: Config) -> Iterator[tuple[str, object]]:
    for table in sorted(NAMED_TABLES):
        named: Mapping[str, Any] = getattr(config, table)
        for name, value in named.items():
            yield dotted((table, name)), value
