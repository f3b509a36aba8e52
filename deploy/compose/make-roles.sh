#!/bin/sh
# Makes the database roles and the account of the daemon, or brings them up to date. Runs in the image of PostgreSQL,
# as the owner of the tables: PGHOST, PGUSER, PGDATABASE and the two password files are in the environment.
set -eu
PGPASSWORD=$(cat "$OWNER_PASSWORD_FILE")
export PGPASSWORD

psql -X -q -v ON_ERROR_STOP=1 -f "$ROLES_FILE"
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
SELECT 'CREATE ROLE fleet_daemon LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fleet_daemon') \gexec
GRANT providerd_daemon TO fleet_daemon;
SQL

# Asked for twice. What is sent is a hash, so that no log of the server gets to see the password.
daemon=$(cat "$DAEMON_PASSWORD_FILE")
printf '%s\n%s\n' "$daemon" "$daemon" | psql -X -q -v ON_ERROR_STOP=1 -c '\password fleet_daemon'
