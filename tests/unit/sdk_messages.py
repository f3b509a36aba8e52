"""Messages of the API in one line each, for the tests of the SDK."""

from typing import Any

from google.protobuf.duration_pb2 import Duration

from providerd.v1 import provider_pb2 as pb

STORE = "5f0e3a52-6c1b-4d8e-9a57-0c2f6d1b7e10"
OTHER_STORE = "c4d19b7a-2f64-4a0d-8e33-7b5a9f210d6c"


def provider(name: str = "groq", **fields: Any) -> pb.Provider:
    message = pb.Provider(
        provider_name=name,
        display_name=name.title(),
        base_url=f"https://api.{name}.example",
        endpoint_path_template="/v1/responses",
        default_model=f"{name}-large",
        is_active=True,
        is_enabled=True,
    )
    message.request_builder_config.update({"version": 1})
    message.response_extractor_config.update({"version": 1})
    for field, value in fields.items():
        setattr(message, field, value)
    return message


def revision(number: int, store: str = STORE) -> pb.Revision:
    return pb.Revision(store_id=store, number=number)


def source(age: float = 0.0, *, stale: bool = False) -> pb.SourceStatus:
    return pb.SourceStatus(age=Duration(nanos=round(age * 1e9) % 10**9, seconds=int(age)), stale=stale)


def active(
    number: int,
    provider_or_name: pb.Provider | str | None = "groq",
    cause: str = "SWITCHED",
    *,
    store: str = STORE,
    key: str | None = None,
    age: float = 0.0,
    stale: bool = False,
) -> pb.WatchActiveResponse:
    content = provider(provider_or_name) if isinstance(provider_or_name, str) else provider_or_name
    credential = None if key is None else pb.Credential(api_key=key)
    event = pb.ActiveEvent(cause=pb.ChangeCause.Value(f"CHANGE_CAUSE_{cause}"), provider=content, credential=credential)
    return pb.WatchActiveResponse(active=event, revision=revision(number, store), source=source(age, stale=stale))


def heartbeat(number: int, *, store: str = STORE, age: float = 0.0, stale: bool = False) -> pb.WatchActiveResponse:
    return pb.WatchActiveResponse(
        heartbeat=pb.Heartbeat(), revision=revision(number, store), source=source(age, stale=stale)
    )


def drain(number: int, retry_after: float) -> pb.WatchActiveResponse:
    return pb.WatchActiveResponse(
        drain=pb.Drain(retry_after=source(retry_after).age), revision=revision(number), source=source()
    )
