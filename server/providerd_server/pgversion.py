"""Which PostgreSQL servers are new enough, and have a pgcrypto that is safe to give ciphertexts to."""

# The first that the schema and the roles are made for.
OLDEST_MAJOR = 16

# CVE-2026-2005: a crafted ciphertext overflows a heap buffer of pgcrypto's PGP parser and runs code as the
# server. The first minor version of each branch without it: https://www.postgresql.org/support/security/CVE-2026-2005/
FIXED_MINORS = {14: 21, 15: 16, 16: 12, 17: 8, 18: 2}


def version_warning(server_version_num: int) -> str | None:
    """Return what to tell the operator about a server with a known hole in pgcrypto; None when there is none.

    Args:
        server_version_num: the server's setting of that name, such as 180001 for 18.1.
    """
    major, minor = divmod(server_version_num, 10_000)
    if major > max(FIXED_MINORS):
        return None
    if (fixed := FIXED_MINORS.get(major)) is None:
        return (
            f"PostgreSQL {major} has no fix for CVE-2026-2005 in pgcrypto: "
            f"move to a supported major version, {min(FIXED_MINORS)} or newer"
        )
    if minor < fixed:
        return f"PostgreSQL {major}.{minor} has CVE-2026-2005 in pgcrypto: update it to {major}.{fixed} or newer"
    return None
