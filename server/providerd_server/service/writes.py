"""The RPCs that change something: durable when acknowledged, and seen by the next read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from google.protobuf.message import Message

from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.access import Scope, current
from providerd_server.edit import Edit, check_content, configuration_from
from providerd_server.errors import Violation, invalid
from providerd_server.hub import Hub
from providerd_server.rpc import Context, Handler, unary
from providerd_server.snapshot import Revision
from providerd_server.source import WritableSource
from providerd_server.store import Store, Transactions
from providerd_server.store.configuration import apply
from providerd_server.store.providers import Saved, Switched
from providerd_server.validation import STRICT, HostPolicy, name_violations, text_violations

log = structlog.get_logger(__name__)


class Outcome(Protocol):
    """What a write comes to."""

    @property
    def revision(self) -> Revision:
        """The revision after it."""
        ...

    @property
    def changed(self) -> bool:
        """Whether it made that revision."""
        ...


T = TypeVar("T", bound=Outcome)

# A write answers only when this daemon's own reads show it; with the database gone since, not at all costs.
_CATCH_UP = 1.0


class Writes:
    """SwitchProvider, UpsertProvider, DeleteProvider, RollbackProvider and ApplyConfiguration.

    Args:
        hub: Is told what was acknowledged.
        transactions: Carries out the change of a whole configuration.
        store: Carries out the change of one provider.
        source: Reads again after a write.
        hosts: Where keys may be sent.
    """

    def __init__(
        self, hub: Hub, transactions: Transactions, store: Store, source: WritableSource, hosts: HostPolicy = STRICT
    ) -> None:
        self._hub = hub
        self._transactions = transactions
        self._store = store
        self._source = source
        self._hosts = hosts

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        return [
            unary(pb.SwitchProviderRequest, self.switch_provider, level="info"),
            unary(pb.UpsertProviderRequest, self.upsert_provider, level="info"),
            unary(pb.DeleteProviderRequest, self.delete_provider, level="info"),
            unary(pb.RollbackProviderRequest, self.rollback_provider, level="info"),
            unary(pb.ApplyConfigurationRequest, self.apply_configuration, level="info"),
        ]

    async def switch_provider(self, request: pb.SwitchProviderRequest, _: Context) -> Message:
        """Makes a provider active."""
        _check(name_violations(request.provider_name), request)
        outcome = await self._durably(
            self._store.switch(
                request.provider_name,
                expected_revision=_expected_revision(request),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            ),
            dry_run=request.validate_only,
        )
        response = pb.SwitchProviderResponse(
            active=convert.provider_message(outcome.active),
            revision=_revision_unless(request.validate_only, outcome.revision),
            switched=outcome.changed,
            warnings=_key_warnings(outcome),
        )
        if outcome.previous is not None:
            response.previous.CopyFrom(convert.provider_message(outcome.previous))
        return response

    async def upsert_provider(self, request: pb.UpsertProviderRequest, _: Context) -> Message:
        """Creates or changes a provider."""
        edit = Edit(request, hosts=self._hosts)
        outcome = await self._durably(
            self._store.upsert(
                edit.provider_name,
                edit.merge,
                new_api_key=Secret(request.new_api_key) if request.HasField("new_api_key") else None,
                clear_api_key=request.clear_api_key,
                expected_config_version=_expected_version(request),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            ),
            dry_run=request.validate_only,
        )
        return pb.UpsertProviderResponse(**_saved(outcome, request.validate_only))

    async def delete_provider(self, request: pb.DeleteProviderRequest, _: Context) -> Message:
        """Deletes a provider."""
        _check(name_violations(request.provider_name), request)
        outcome = await self._durably(
            self._store.delete(
                request.provider_name,
                expected_config_version=_expected_version(request),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            ),
            dry_run=request.validate_only,
        )
        return pb.DeleteProviderResponse(
            provider=convert.provider_message(outcome.provider),
            revision=_revision_unless(request.validate_only, outcome.revision),
        )

    async def rollback_provider(self, request: pb.RollbackProviderRequest, _: Context) -> Message:
        """Brings a provider back to what it was."""
        violations = name_violations(request.provider_name)
        if request.revision_number <= 0:
            violations.append(Violation("revision_number", "must be the number of a revision: 1 or more"))
        _check(violations, request)
        outcome = await self._durably(
            self._store.rollback(
                request.provider_name,
                request.revision_number,
                check=partial(check_content, hosts=self._hosts),
                expected_config_version=_expected_version(request),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            ),
            dry_run=request.validate_only,
        )
        return pb.RollbackProviderResponse(**_saved(outcome, request.validate_only))

    async def apply_configuration(self, request: pb.ApplyConfigurationRequest, _: Context) -> Message:
        """Brings all providers to a stated configuration."""
        if request.active_provider_name:
            current().require(Scope.SWITCH)
        if request.delete_missing:
            current().require(Scope.ADMIN)
        outcome = await self._durably(
            apply(
                self._transactions,
                configuration_from(request, self._hosts),
                expected_revision=_expected_revision(request),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            ),
            dry_run=request.validate_only,
        )
        return pb.ApplyConfigurationResponse(
            diffs=convert.diff_messages(outcome.diffs),
            base_revision=convert.revision_message(outcome.base),
            revision=_revision_unless(request.validate_only, outcome.revision),
        )

    async def _durably(self, write: Coroutine[Any, Any, T], *, dry_run: bool) -> T:
        """Carries out a write, and answers when reads here show it."""
        began = time.monotonic()
        try:
            outcome = await write
        except BaseException as error:
            if not dry_run:
                self._hub.failed(error, began)
            raise
        if dry_run:
            return outcome
        if outcome.changed:
            self._hub.wrote(outcome.revision, began)
        await self._catch_up()
        # Should the reads be behind all the same, they say so.
        self._hub.acknowledge(outcome.revision)
        return outcome

    async def _catch_up(self) -> None:
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CATCH_UP):
                    await self._source.verify()
                    return
            self._source.reconnect()


def _check(
    violations: list[Violation],
    request: pb.SwitchProviderRequest | pb.DeleteProviderRequest | pb.RollbackProviderRequest,
) -> None:
    violations = violations + text_violations(request.reason, request.actor)
    if not isinstance(request, pb.SwitchProviderRequest) and (_expected_version(request) or 0) < 0:
        violations.append(Violation("expected_config_version", "must not be negative"))
    if violations:
        raise invalid(violations)


def _expected_version(
    request: pb.UpsertProviderRequest | pb.DeleteProviderRequest | pb.RollbackProviderRequest,
) -> int | None:
    return request.expected_config_version if request.HasField("expected_config_version") else None


def _expected_revision(request: pb.SwitchProviderRequest | pb.ApplyConfigurationRequest) -> Revision | None:
    if not request.HasField("expected_revision"):
        return None
    if not request.expected_revision.store_id:
        raise invalid([Violation("expected_revision.store_id", "must be that of the revision, as a read gave it")])
    return convert.revision_from(request.expected_revision)


def _revision_unless(validate_only: bool, revision: Revision) -> pb.Revision | None:
    return None if validate_only else convert.revision_message(revision)


def _saved(outcome: Saved, validate_only: bool) -> dict[str, Any]:
    """The fields that the responses of all changes of content have."""
    return {
        "provider": convert.provider_message(outcome.after),
        "created": outcome.before is None,
        "changed": outcome.changed,
        "changes": convert.change_messages(outcome.changes),
        "revision": _revision_unless(validate_only, outcome.revision),
    }


def _key_warnings(outcome: Switched) -> list[pb.Warning]:
    name = outcome.active.provider_name
    if not outcome.active.has_key:
        message = f"provider {name!r} has no key, so calls to it will be refused; set one"
        return [pb.Warning(reason="PROVIDER_HAS_NO_KEY", message=message)]
    if outcome.key_unreadable:
        message = f"the key of provider {name!r} cannot be decrypted; check DB_ENCRYPTION_KEY or set the key anew"
        return [pb.Warning(reason="CREDENTIAL_UNREADABLE", message=message)]
    return []
