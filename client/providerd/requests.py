"""Building the requests of calls that change something, or that ask for more than a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from providerd.content import provider_message, snake_case
from providerd.document import invalid
from providerd.errors import FieldViolation, InvalidArgumentError
from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from providerd.history import HistoryAction
    from providerd.provider import Revision

M = TypeVar("M", bound="Message")


def switch_request(
    provider_name: str, *, expected_revision: Revision | None, validate_only: bool, reason: str, actor: str
) -> pb.SwitchProviderRequest:
    """Returns the request to switch to a provider."""
    return build(
        pb.SwitchProviderRequest,
        provider_name=provider_name,
        expected_revision=None if expected_revision is None else expected_revision.to_proto(),
        validate_only=validate_only,
        reason=reason,
        actor=actor,
    )


def upsert_request(
    provider: Mapping[str, Any],
    *,
    update_mask: Sequence[str] | None,
    api_key: str | Secret | None,
    clear_api_key: bool,
    expected_config_version: int | None,
    validate_only: bool,
    reason: str,
    actor: str,
) -> pb.UpsertProviderRequest:
    """Returns the request to create or change a provider.

    Raises:
        InvalidArgumentError: A field is unknown, has the wrong type, or holds a number JSON cannot carry exactly.
    """
    if api_key is not None and clear_api_key:
        raise invalid("api_key", "give a new key or clear it, not both")
    mask = None if update_mask is None else FieldMask(paths=[snake_case(path) for path in update_mask])
    request = build(
        pb.UpsertProviderRequest,
        provider=provider_message(provider),
        update_mask=mask,
        clear_api_key=clear_api_key or None,
        expected_config_version=expected_config_version,
        validate_only=validate_only,
        reason=reason,
        actor=actor,
    )
    # Last, so that it is in clear nowhere when something else is refused.
    key = api_key.reveal() if isinstance(api_key, Secret) else api_key
    request.MergeFrom(build(pb.UpsertProviderRequest, new_api_key=key))
    return request


def apply_request(
    providers: Sequence[Mapping[str, Any]],
    *,
    active: str | None,
    delete_missing: bool,
    expected_revision: Revision | None,
    validate_only: bool,
    reason: str,
    actor: str,
) -> pb.ApplyConfigurationRequest:
    """Returns the request to bring all providers to a stated configuration.

    Raises:
        InvalidArgumentError: As for upsert_request(); it names the fields of all providers at once.
    """
    messages: list[pb.Provider] = []
    violations: list[FieldViolation] = []
    for index, provider in enumerate(providers):
        try:
            messages.append(provider_message(provider, f"providers[{index}]."))
        except InvalidArgumentError as error:
            violations += error.violations
    if violations:
        raise InvalidArgumentError("the configuration is not valid", violations=violations)
    return build(
        pb.ApplyConfigurationRequest,
        providers=messages,
        active_provider_name=active,
        delete_missing=delete_missing,
        expected_revision=None if expected_revision is None else expected_revision.to_proto(),
        validate_only=validate_only,
        reason=reason,
        actor=actor,
    )


def history_request(
    *,
    provider_name: str,
    action: HistoryAction | None,
    actor: str,
    start_time: datetime | None,
    end_time: datetime | None,
    first_revision: int,
    last_revision: int,
) -> pb.ListHistoryRequest:
    """Returns the request for the first page of the history."""
    return build(
        pb.ListHistoryRequest,
        provider_name=provider_name,
        action=None if action is None else action.to_proto(),
        actor=actor,
        start_time=_timestamp(start_time, "start_time"),
        end_time=_timestamp(end_time, "end_time"),
        first_revision=first_revision,
        last_revision=last_revision,
    )


def build(message: Callable[..., M], **fields: Any) -> M:
    """Returns a message with these fields; None leaves one unset.

    Raises:
        InvalidArgumentError: A value does not fit its field.
    """
    try:
        return message(**{name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError):
        pass
    # Found one by one, and described without the value: it may be a key.
    for name, value in fields.items():
        try:
            message(**{name: value})
        except (TypeError, ValueError):
            raise invalid(name, f"a {type(value).__name__} of this value does not fit") from None
    raise invalid("request", "its fields do not fit together")


def _timestamp(time: datetime | None, field: str) -> Timestamp | None:
    if time is None:
        return None
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise invalid(field, "must be a datetime with a time zone")
    message = Timestamp()
    message.FromDatetime(time)
    return message
