"""Asks a daemon of this machine how it is, for those who watch over containers.

``python -m providerd_server.probe unix:///run/providerd/providerd.sock`` exits with 0 when calls are answered, else
with 1 and one line that says why. With ``--alive`` an answer is enough: a daemon that waits for its database is not to
be restarted. It takes no token and no certificate, since the health service asks for none on a unix socket:
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# Below the time limits of probes, so that the reason is seen.
_SECONDS = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Probes the daemon that the command line names; returns the exit code of the process."""
    parser = argparse.ArgumentParser("python -m providerd_server.probe", description="Ask a daemon how it is.")
    parser.add_argument("address", help="unix:///path, or host:port without TLS")
    parser.add_argument("--alive", action="store_true", help="any answer will do")
    given = parser.parse_args(arguments)
    status = probe(given.address)
    if status == "SERVING" or (given.alive and status == "NOT_SERVING"):
        return 0
    sys.stderr.write(f"{given.address}: {status}\n")
    return 1


def probe(address: str, credentials: grpc.ChannelCredentials | None = None, name: str = "") -> str:
    """Returns the status of a daemon, as SERVING or NOT_SERVING, or the reason why there is none.

    Args:
        address: unix:///path, or host:port.
        credentials: What TLS is spoken with; None for no TLS.
        name: Whom its certificate has to name, if not the host.
    """
    with _channel(address, credentials, name) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str, credentials: grpc.ChannelCredentials | None, name: str) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0), *([("grpc.ssl_target_name_override", name)] if name else [])]
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)


if __name__ == "__main__":
    sys.exit(main())
