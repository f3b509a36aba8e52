"""PostgreSQL from a wheel, for running providerd without configuring a database.

``EmbeddedPostgres`` owns a cluster in a data directory and the ``postgres`` process that serves it: it
starts, watches, restarts and stops that process. It needs the extra ``providerd[embedded]`` and a POSIX
system; the guarantees about processes left behind by a killed daemon need Linux.
"""

from providerd_server.embedded.directory import default_data_dir, holds_cluster
from providerd_server.embedded.errors import EmbeddedError
from providerd_server.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedError", "EmbeddedPostgres", "default_data_dir", "holds_cluster"]
