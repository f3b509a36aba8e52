"""Which checks there are, in the order in which they are told, and what each of them takes."""

from __future__ import annotations

from functools import partial
from typing import Any

from providerd_server.doctor import daemon, database, entrance, keys, roles, schema, settings, sidecar
from providerd_server.doctor.case import Case
from providerd_server.doctor.data_directory import data_directory
from providerd_server.doctor.examination import Check, Verdict
from providerd_server.doctor.sidecar import SidecarCase
from providerd_server.doctor.versions import versions

_LIST = "docs/reference/settings.md lists all; correct it in the environment or in .env"
_RANDOM = "`openssl rand -base64 32` makes one; `providerd keys rotate` then moves the stored keys under it"
_RING = "give the file to the account of the daemon, mode 0600, and name it in PROVIDERD_ENCRYPTION_KEYS_FILE"
_ACCESS = "`providerd token list` says whether it is mended; PROVIDERD_ACCESS_FILE names it"
_TLS = "name both in PROVIDERD_TLS_CERT_FILE and PROVIDERD_TLS_KEY_FILE, in PEM, readable by the daemon's account"


def of_daemon(case: Case) -> list[Check]:
    """What a daemon stands on."""
    return [
        Check("versions", versions),
        Check("settings", partial(settings.settings, case), hint=_LIST),
        Check("key ring", partial(settings.key_ring, case), ("settings",), _RING),
        Check("passphrase", partial(settings.passphrase, case), ("settings", "key ring"), _RANDOM),
        Check("allowed hosts", partial(settings.allowed_hosts, case), ("settings",), "correct PROVIDERD_ALLOWED_HOSTS"),
        *_entrance(case),
        *_database(case),
        *_content(case),
        Check("daemon", lambda: _answering(case, "providerd serve"), ("settings", "certificate")),
        Check("daemon's revision", partial(daemon.following, case), ("database", "tables", "role", "daemon")),
    ]


def of_sidecar(case: SidecarCase) -> list[Check]:
    """What a sidecar stands on."""
    return [
        Check("versions", versions),
        Check("settings", partial(sidecar.settings, case), hint=_LIST),
        *_entrance(case),
        Check("upstream", partial(sidecar.upstream, case), ("settings",)),
        Check("upstream's keys", partial(sidecar.upstream_keys, case), ("settings", "upstream")),
        Check("last-known-good file", partial(sidecar.last_known_good, case), ("settings",)),
        Check("sidecar", lambda: _answering(case, "providerd sidecar"), ("settings", "certificate")),
        Check("sidecar's answers", lambda: daemon.freshness(case.settings, case.answering), ("sidecar",)),
    ]


def _entrance(case: Case | SidecarCase) -> list[Check]:
    return [
        Check("exposure", lambda: entrance.exposure(case.settings), ("settings",)),
        Check("socket directory", lambda: entrance.socket_directories(case.settings), ("settings",)),
        Check("access file", lambda: entrance.access_file(case.settings), ("settings",), _ACCESS),
        Check("tokens", lambda: entrance.tokens(case.settings), ("settings", "access file")),
        Check("certificate", lambda: entrance.certificate(case.settings), ("settings",), _TLS),
    ]


def _database(case: Case) -> list[Check]:
    def asking(name: str, look: Any) -> Check:
        return Check(name, case.asking(look), ("database",))

    return [
        Check("data directory", partial(data_directory, case), ("settings",)),
        Check("database", partial(database.reached, case), ("settings", "data directory")),
        asking("server version", lambda connection: database.server_version(case.settings, connection)),
        asking("encryption", partial(database.encryption, case)),
        asking("pooler", partial(database.pooler, case)),
        asking("primary", database.primary),
        asking("connections", lambda connection: database.free_connections(case.settings, connection)),
        asking("encoding", database.encoding),
        asking("pgcrypto", database.pgcrypto),
        asking("clock", database.clock),
        asking("statement log", database.statement_log),
        Check("LISTEN", partial(database.listening, case), ("database", "primary")),
    ]


def _content(case: Case) -> list[Check]:
    needed = ("database", "tables")
    return [
        Check("migrations", case.asking(schema.migrations), ("database",)),
        Check("tables", case.asking(schema.tables), ("database",)),
        Check("schema", case.asking(schema.schema), needed),
        Check("role", case.asking(roles.rights), needed),
        Check("role's powers", case.asking(partial(roles.powers, case)), needed),
        Check("strangers", case.asking(roles.strangers), needed),
        Check("keys", partial(keys.keys, case), (*needed, "role", "pgcrypto", "key ring", "allowed hosts")),
        Check("active provider", partial(keys.active_provider, case), (*needed, "role")),
    ]


async def _answering(case: Case | SidecarCase, command: str) -> Verdict:
    verdict, case.answering = await daemon.answering(case.settings, command)
    return verdict
