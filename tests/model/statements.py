"""Direct SQL writes: each knows its statement, and what that does to the model's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import strategies as st

from providerd_server.settings import PUBLISHED_PASSPHRASE
from tests.model import contents
from tests.model.model import Broken, Key, Table


class Statement(Protocol):
    """One statement on ``llm_provider_configs``."""

    def sql(self) -> tuple[str, list[Any]]:
        """Its text and its parameters."""

    def do(self, table: Table) -> None:
        """What it does; raises ``Broken``."""


@dataclass(frozen=True)
class Update:
    """Sets columns of one provider."""

    name: str
    columns: Mapping[str, Any]

    def sql(self) -> tuple[str, list[Any]]:
        pairs = ", ".join(f"{column} = ${number}" for number, column in enumerate(self.columns, start=2))
        return f"UPDATE llm_provider_configs SET {pairs} WHERE provider_name = $1", [self.name, *self.columns.values()]

    def do(self, table: Table) -> None:
        table.update(self.name, **self.columns)


@dataclass(frozen=True)
class EnableAll:
    """Changes many rows at once."""

    def sql(self) -> tuple[str, list[Any]]:
        return "UPDATE llm_provider_configs SET is_enabled = TRUE", []

    def do(self, table: Table) -> None:
        for name in list(table.providers):
            table.update(name, is_enabled=True)


@dataclass(frozen=True)
class NoChange:
    """An UPDATE of every row that changes none."""

    def sql(self) -> tuple[str, list[Any]]:
        return "UPDATE llm_provider_configs SET display_name = display_name, updated_by = 'nobody'", []

    def do(self, table: Table) -> None:
        return


@dataclass(frozen=True)
class Deactivate:
    """Leaves no provider active."""

    def sql(self) -> tuple[str, list[Any]]:
        return "UPDATE llm_provider_configs SET is_active = FALSE WHERE is_active", []

    def do(self, table: Table) -> None:
        if table.active is not None:
            table.update(table.active.name, is_active=False)


@dataclass(frozen=True)
class Switch:
    """The function that operators call."""

    name: str

    def sql(self) -> tuple[str, list[Any]]:
        return "SELECT switch_active_provider($1)", [self.name]

    def do(self, table: Table) -> None:
        target = table.providers.get(self.name)
        if target is None:
            raise Broken("PD001")
        if not target.enabled:
            raise Broken("PD002")
        table.update(self.name, is_active=True)


@dataclass(frozen=True)
class Insert:
    """A new provider, unless the name is taken."""

    name: str
    edits: Mapping[str, Any]
    is_active: bool
    or_nothing: bool

    def sql(self) -> tuple[str, list[Any]]:
        row = {"provider_name": self.name, "is_active": self.is_active, **contents.whole(dict(self.edits))}
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        conflict = " ON CONFLICT (provider_name) DO NOTHING" if self.or_nothing else ""
        return f"INSERT INTO llm_provider_configs ({', '.join(row)}) VALUES ({places}){conflict}", list(row.values())

    def do(self, table: Table) -> None:
        content = contents.whole(dict(self.edits))
        table.insert(self.name, content, is_active=self.is_active, or_nothing=self.or_nothing)


@dataclass(frozen=True)
class Delete:
    """Removes a provider."""

    name: str

    def sql(self) -> tuple[str, list[Any]]:
        return "DELETE FROM llm_provider_configs WHERE provider_name = $1", [self.name]

    def do(self, table: Table) -> None:
        table.delete(self.name)


@dataclass(frozen=True)
class SetKey:
    """Stores a key as an operator would."""

    name: str
    key: str

    def sql(self) -> tuple[str, list[Any]]:
        return (
            "UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt($2, $3) WHERE provider_name = $1",
            [self.name, self.key, PUBLISHED_PASSPHRASE],
        )

    def do(self, table: Table) -> None:
        table.update(self.name, key=Key(self.key))


@dataclass(frozen=True)
class ForgetKey:
    """Removes a key."""

    name: str

    def sql(self) -> tuple[str, list[Any]]:
        return "UPDATE llm_provider_configs SET api_key_encrypted = NULL WHERE provider_name = $1", [self.name]

    def do(self, table: Table) -> None:
        table.update(self.name, key=None)


@dataclass(frozen=True)
class StoreKeyInClear:
    """The mistake that must never reach the table, and from there the history."""

    name: str
    key: str

    def sql(self) -> tuple[str, list[Any]]:
        return "UPDATE llm_provider_configs SET api_key_encrypted = $2 WHERE provider_name = $1", [self.name, self.key]

    def do(self, table: Table) -> None:
        if self.name in table.providers:
            raise Broken("PD006")


statements: st.SearchStrategy[Statement] = st.one_of(
    st.builds(Update, contents.names, contents.edits),
    st.builds(Update, contents.names, contents.wrong_edits),
    st.builds(Update, contents.names, st.just({"is_active": True})),
    st.builds(Update, contents.names, st.booleans().map(lambda enabled: {"is_enabled": enabled})),
    st.builds(EnableAll),
    st.builds(NoChange),
    st.builds(Deactivate),
    st.builds(Switch, contents.names),
    st.builds(Insert, contents.names, contents.edits, st.booleans(), st.booleans()),
    st.builds(Insert, contents.names, contents.wrong_edits, st.booleans(), st.booleans()),
    st.builds(Delete, contents.names),
    st.builds(SetKey, contents.names, contents.keys),
    st.builds(ForgetKey, contents.names),
    st.builds(StoreKeyInClear, contents.names, contents.keys),
)
