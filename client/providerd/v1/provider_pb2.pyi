from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_CAUSE_UNSPECIFIED: _ClassVar[ChangeCause]
    CHANGE_CAUSE_INITIAL: _ClassVar[ChangeCause]
    CHANGE_CAUSE_SWITCHED: _ClassVar[ChangeCause]
    CHANGE_CAUSE_UPDATED: _ClassVar[ChangeCause]
    CHANGE_CAUSE_KEY_CHANGED: _ClassVar[ChangeCause]
    CHANGE_CAUSE_RESYNC: _ClassVar[ChangeCause]
    CHANGE_CAUSE_NONE_ACTIVE: _ClassVar[ChangeCause]

class DiffKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIFF_KIND_UNSPECIFIED: _ClassVar[DiffKind]
    DIFF_KIND_ADDED: _ClassVar[DiffKind]
    DIFF_KIND_REMOVED: _ClassVar[DiffKind]
    DIFF_KIND_CHANGED: _ClassVar[DiffKind]

class HistoryAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HISTORY_ACTION_UNSPECIFIED: _ClassVar[HistoryAction]
    HISTORY_ACTION_CREATED: _ClassVar[HistoryAction]
    HISTORY_ACTION_UPDATED: _ClassVar[HistoryAction]
    HISTORY_ACTION_ACTIVATED: _ClassVar[HistoryAction]
    HISTORY_ACTION_DEACTIVATED: _ClassVar[HistoryAction]
    HISTORY_ACTION_ENABLED: _ClassVar[HistoryAction]
    HISTORY_ACTION_DISABLED: _ClassVar[HistoryAction]
    HISTORY_ACTION_KEY_CHANGED: _ClassVar[HistoryAction]
    HISTORY_ACTION_DELETED: _ClassVar[HistoryAction]
CHANGE_CAUSE_UNSPECIFIED: ChangeCause
CHANGE_CAUSE_INITIAL: ChangeCause
CHANGE_CAUSE_SWITCHED: ChangeCause
CHANGE_CAUSE_UPDATED: ChangeCause
CHANGE_CAUSE_KEY_CHANGED: ChangeCause
CHANGE_CAUSE_RESYNC: ChangeCause
CHANGE_CAUSE_NONE_ACTIVE: ChangeCause
DIFF_KIND_UNSPECIFIED: DiffKind
DIFF_KIND_ADDED: DiffKind
DIFF_KIND_REMOVED: DiffKind
DIFF_KIND_CHANGED: DiffKind
HISTORY_ACTION_UNSPECIFIED: HistoryAction
HISTORY_ACTION_CREATED: HistoryAction
HISTORY_ACTION_UPDATED: HistoryAction
HISTORY_ACTION_ACTIVATED: HistoryAction
HISTORY_ACTION_DEACTIVATED: HistoryAction
HISTORY_ACTION_ENABLED: HistoryAction
HISTORY_ACTION_DISABLED: HistoryAction
HISTORY_ACTION_KEY_CHANGED: HistoryAction
HISTORY_ACTION_DELETED: HistoryAction

class Revision(_message.Message):
    __slots__ = ("store_id", "number")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    store_id: str
    number: int
    def __init__(self, store_id: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class SourceStatus(_message.Message):
    __slots__ = ("age", "stale")
    AGE_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    age: _duration_pb2.Duration
    stale: bool
    def __init__(self, age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale: bool = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("provider_name", "display_name", "description", "auth_scheme", "auth_header_template", "base_url", "endpoint_path_template", "http_method", "additional_headers", "request_builder_config", "response_extractor_config", "default_model", "supported_models", "model_capabilities", "context_window_tokens", "max_output_tokens_limit", "is_active", "is_enabled", "config_version", "create_time", "update_time", "updated_by", "has_key", "key_fingerprint")
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    AUTH_SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTH_HEADER_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_PATH_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    HTTP_METHOD_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_HEADERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BUILDER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_EXTRACTOR_CONFIG_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_MODELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    IS_ENABLED_FIELD_NUMBER: _ClassVar[int]
    CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATED_BY_FIELD_NUMBER: _ClassVar[int]
    HAS_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    display_name: str
    description: str
    auth_scheme: str
    auth_header_template: str
    base_url: str
    endpoint_path_template: str
    http_method: str
    additional_headers: _struct_pb2.Struct
    request_builder_config: _struct_pb2.Struct
    response_extractor_config: _struct_pb2.Struct
    default_model: str
    supported_models: _containers.RepeatedScalarFieldContainer[str]
    model_capabilities: _struct_pb2.Struct
    context_window_tokens: int
    max_output_tokens_limit: int
    is_active: bool
    is_enabled: bool
    config_version: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    updated_by: str
    has_key: bool
    key_fingerprint: str
    def __init__(self, provider_name: _Optional[str] = ..., display_name: _Optional[str] = ..., description: _Optional[str] = ..., auth_scheme: _Optional[str] = ..., auth_header_template: _Optional[str] = ..., base_url: _Optional[str] = ..., endpoint_path_template: _Optional[str] = ..., http_method: _Optional[str] = ..., additional_headers: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., request_builder_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., response_extractor_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., default_model: _Optional[str] = ..., supported_models: _Optional[_Iterable[str]] = ..., model_capabilities: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., context_window_tokens: _Optional[int] = ..., max_output_tokens_limit: _Optional[int] = ..., is_active: bool = ..., is_enabled: bool = ..., config_version: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., updated_by: _Optional[str] = ..., has_key: bool = ..., key_fingerprint: _Optional[str] = ...) -> None: ...

class Credential(_message.Message):
    __slots__ = ("api_key",)
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    api_key: str
    def __init__(self, api_key: _Optional[str] = ...) -> None: ...

class GetActiveProviderRequest(_message.Message):
    __slots__ = ("include_credential",)
    INCLUDE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    include_credential: bool
    def __init__(self, include_credential: bool = ...) -> None: ...

class GetActiveProviderResponse(_message.Message):
    __slots__ = ("provider", "credential", "revision", "source")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    credential: Credential
    revision: Revision
    source: SourceStatus
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., credential: _Optional[_Union[Credential, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., source: _Optional[_Union[SourceStatus, _Mapping]] = ...) -> None: ...

class ClientIdentity(_message.Message):
    __slots__ = ("name", "version", "instance")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    instance: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., instance: _Optional[str] = ...) -> None: ...

class WatchActiveRequest(_message.Message):
    __slots__ = ("known_revision", "include_credential", "heartbeat_interval", "client")
    KNOWN_REVISION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    known_revision: Revision
    include_credential: bool
    heartbeat_interval: _duration_pb2.Duration
    client: ClientIdentity
    def __init__(self, known_revision: _Optional[_Union[Revision, _Mapping]] = ..., include_credential: bool = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., client: _Optional[_Union[ClientIdentity, _Mapping]] = ...) -> None: ...

class ActiveEvent(_message.Message):
    __slots__ = ("cause", "provider", "credential")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    cause: ChangeCause
    provider: Provider
    credential: Credential
    def __init__(self, cause: _Optional[_Union[ChangeCause, str]] = ..., provider: _Optional[_Union[Provider, _Mapping]] = ..., credential: _Optional[_Union[Credential, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Drain(_message.Message):
    __slots__ = ("retry_after",)
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    retry_after: _duration_pb2.Duration
    def __init__(self, retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchActiveResponse(_message.Message):
    __slots__ = ("active", "heartbeat", "drain", "revision", "source")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    active: ActiveEvent
    heartbeat: Heartbeat
    drain: Drain
    revision: Revision
    source: SourceStatus
    def __init__(self, active: _Optional[_Union[ActiveEvent, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., source: _Optional[_Union[SourceStatus, _Mapping]] = ...) -> None: ...

class SwitchProviderRequest(_message.Message):
    __slots__ = ("provider_name", "expected_revision", "reason", "actor", "validate_only")
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    expected_revision: Revision
    reason: str
    actor: str
    validate_only: bool
    def __init__(self, provider_name: _Optional[str] = ..., expected_revision: _Optional[_Union[Revision, _Mapping]] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class SwitchProviderResponse(_message.Message):
    __slots__ = ("previous", "active", "revision", "switched", "warnings")
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    previous: Provider
    active: Provider
    revision: Revision
    switched: bool
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, previous: _Optional[_Union[Provider, _Mapping]] = ..., active: _Optional[_Union[Provider, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., switched: bool = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class UpsertProviderRequest(_message.Message):
    __slots__ = ("provider", "update_mask", "new_api_key", "clear_api_key", "expected_config_version", "validate_only", "reason", "actor")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    NEW_API_KEY_FIELD_NUMBER: _ClassVar[int]
    CLEAR_API_KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    update_mask: _field_mask_pb2.FieldMask
    new_api_key: str
    clear_api_key: bool
    expected_config_version: int
    validate_only: bool
    reason: str
    actor: str
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., new_api_key: _Optional[str] = ..., clear_api_key: bool = ..., expected_config_version: _Optional[int] = ..., validate_only: bool = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class UpsertProviderResponse(_message.Message):
    __slots__ = ("provider", "created", "changed", "revision", "changes")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    created: bool
    changed: bool
    revision: Revision
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., created: bool = ..., changed: bool = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("field", "old_value", "new_value")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    OLD_VALUE_FIELD_NUMBER: _ClassVar[int]
    NEW_VALUE_FIELD_NUMBER: _ClassVar[int]
    field: str
    old_value: _struct_pb2.Value
    new_value: _struct_pb2.Value
    def __init__(self, field: _Optional[str] = ..., old_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., new_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class DeleteProviderRequest(_message.Message):
    __slots__ = ("provider_name", "expected_config_version", "validate_only", "reason", "actor")
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    expected_config_version: int
    validate_only: bool
    reason: str
    actor: str
    def __init__(self, provider_name: _Optional[str] = ..., expected_config_version: _Optional[int] = ..., validate_only: bool = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class DeleteProviderResponse(_message.Message):
    __slots__ = ("provider", "revision")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    revision: Revision
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ...) -> None: ...

class RollbackProviderRequest(_message.Message):
    __slots__ = ("provider_name", "revision_number", "expected_config_version", "validate_only", "reason", "actor")
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    revision_number: int
    expected_config_version: int
    validate_only: bool
    reason: str
    actor: str
    def __init__(self, provider_name: _Optional[str] = ..., revision_number: _Optional[int] = ..., expected_config_version: _Optional[int] = ..., validate_only: bool = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class RollbackProviderResponse(_message.Message):
    __slots__ = ("provider", "created", "changed", "revision", "changes")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    created: bool
    changed: bool
    revision: Revision
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., created: bool = ..., changed: bool = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class ApplyConfigurationRequest(_message.Message):
    __slots__ = ("providers", "active_provider_name", "delete_missing", "expected_revision", "validate_only", "reason", "actor")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    DELETE_MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    active_provider_name: str
    delete_missing: bool
    expected_revision: Revision
    validate_only: bool
    reason: str
    actor: str
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., active_provider_name: _Optional[str] = ..., delete_missing: bool = ..., expected_revision: _Optional[_Union[Revision, _Mapping]] = ..., validate_only: bool = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class ProviderDiff(_message.Message):
    __slots__ = ("provider_name", "kind", "changes")
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    kind: DiffKind
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, provider_name: _Optional[str] = ..., kind: _Optional[_Union[DiffKind, str]] = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class ApplyConfigurationResponse(_message.Message):
    __slots__ = ("diffs", "base_revision", "revision")
    DIFFS_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    diffs: _containers.RepeatedCompositeFieldContainer[ProviderDiff]
    base_revision: Revision
    revision: Revision
    def __init__(self, diffs: _Optional[_Iterable[_Union[ProviderDiff, _Mapping]]] = ..., base_revision: _Optional[_Union[Revision, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("entry_id", "revision", "provider_name", "action", "actor", "database_user", "change_time", "reason", "changes")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    DATABASE_USER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    entry_id: int
    revision: Revision
    provider_name: str
    action: HistoryAction
    actor: str
    database_user: str
    change_time: _timestamp_pb2.Timestamp
    reason: str
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, entry_id: _Optional[int] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., provider_name: _Optional[str] = ..., action: _Optional[_Union[HistoryAction, str]] = ..., actor: _Optional[str] = ..., database_user: _Optional[str] = ..., change_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class ListHistoryRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "provider_name", "action", "actor", "start_time", "end_time", "first_revision", "last_revision")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_REVISION_FIELD_NUMBER: _ClassVar[int]
    LAST_REVISION_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    provider_name: str
    action: HistoryAction
    actor: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    first_revision: int
    last_revision: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., provider_name: _Optional[str] = ..., action: _Optional[_Union[HistoryAction, str]] = ..., actor: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., first_revision: _Optional[int] = ..., last_revision: _Optional[int] = ...) -> None: ...

class ListHistoryResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "revision", "oldest_revision")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_REVISION_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    next_page_token: str
    revision: Revision
    oldest_revision: int
    def __init__(self, entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., oldest_revision: _Optional[int] = ...) -> None: ...

class GetRevisionRequest(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class GetRevisionResponse(_message.Message):
    __slots__ = ("revision", "providers", "active_provider_name", "entries")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    active_provider_name: str
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., active_provider_name: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ...) -> None: ...

class DiffRevisionsRequest(_message.Message):
    __slots__ = ("from_revision", "to_revision", "provider_name")
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    TO_REVISION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    from_revision: int
    to_revision: int
    provider_name: str
    def __init__(self, from_revision: _Optional[int] = ..., to_revision: _Optional[int] = ..., provider_name: _Optional[str] = ...) -> None: ...

class DiffRevisionsResponse(_message.Message):
    __slots__ = ("from_revision", "to_revision", "diffs")
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    TO_REVISION_FIELD_NUMBER: _ClassVar[int]
    DIFFS_FIELD_NUMBER: _ClassVar[int]
    from_revision: Revision
    to_revision: Revision
    diffs: _containers.RepeatedCompositeFieldContainer[ProviderDiff]
    def __init__(self, from_revision: _Optional[_Union[Revision, _Mapping]] = ..., to_revision: _Optional[_Union[Revision, _Mapping]] = ..., diffs: _Optional[_Iterable[_Union[ProviderDiff, _Mapping]]] = ...) -> None: ...

class GetProviderRequest(_message.Message):
    __slots__ = ("provider_name",)
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    provider_name: str
    def __init__(self, provider_name: _Optional[str] = ...) -> None: ...

class GetProviderResponse(_message.Message):
    __slots__ = ("provider", "revision", "source")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    revision: Revision
    source: SourceStatus
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., source: _Optional[_Union[SourceStatus, _Mapping]] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers", "next_page_token", "revision", "source")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    next_page_token: str
    revision: Revision
    source: SourceStatus
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., source: _Optional[_Union[SourceStatus, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("revision", "source", "active_provider_name", "provider_count", "version", "start_time", "origin", "watchers", "deliveries", "folded_revisions", "writes", "refused_writes", "mean_write_time", "calls", "denials", "certificate_expire_time")
    class DenialsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    WATCHERS_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    FOLDED_REVISIONS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_WRITES_FIELD_NUMBER: _ClassVar[int]
    MEAN_WRITE_TIME_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    source: SourceStatus
    active_provider_name: str
    provider_count: int
    version: str
    start_time: _timestamp_pb2.Timestamp
    origin: Origin
    watchers: Watchers
    deliveries: int
    folded_revisions: int
    writes: int
    refused_writes: int
    mean_write_time: _duration_pb2.Duration
    calls: int
    denials: _containers.ScalarMap[str, int]
    certificate_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., source: _Optional[_Union[SourceStatus, _Mapping]] = ..., active_provider_name: _Optional[str] = ..., provider_count: _Optional[int] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., watchers: _Optional[_Union[Watchers, _Mapping]] = ..., deliveries: _Optional[int] = ..., folded_revisions: _Optional[int] = ..., writes: _Optional[int] = ..., refused_writes: _Optional[int] = ..., mean_write_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., calls: _Optional[int] = ..., denials: _Optional[_Mapping[str, int]] = ..., certificate_expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("kind", "connected", "listening", "server_version", "version_warning", "failures", "polled_changes", "lost_listeners", "unreadable_keys")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LISTENING_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_WARNING_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    POLLED_CHANGES_FIELD_NUMBER: _ClassVar[int]
    LOST_LISTENERS_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_KEYS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    connected: bool
    listening: str
    server_version: str
    version_warning: str
    failures: int
    polled_changes: int
    lost_listeners: int
    unreadable_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[str] = ..., connected: bool = ..., listening: _Optional[str] = ..., server_version: _Optional[str] = ..., version_warning: _Optional[str] = ..., failures: _Optional[int] = ..., polled_changes: _Optional[int] = ..., lost_listeners: _Optional[int] = ..., unreadable_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class Watchers(_message.Message):
    __slots__ = ("current", "behind", "starting", "slowest_lag", "resyncing")
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    SLOWEST_LAG_FIELD_NUMBER: _ClassVar[int]
    RESYNCING_FIELD_NUMBER: _ClassVar[int]
    current: int
    behind: int
    starting: int
    slowest_lag: int
    resyncing: int
    def __init__(self, current: _Optional[int] = ..., behind: _Optional[int] = ..., starting: _Optional[int] = ..., slowest_lag: _Optional[int] = ..., resyncing: _Optional[int] = ...) -> None: ...
