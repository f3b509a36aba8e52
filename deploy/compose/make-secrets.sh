#!/bin/sh
# Makes the secrets of compose.yaml, once: random passwords of the two database accounts, and the passphrase of the
# stored keys. Containers read them as other users, so the files are open and their directory is closed.
set -eu
cd "$(dirname "$0")"

if [ -e secrets ]; then
  echo "secrets/ is there: keep it, for the database and the stored keys can only be opened with it" >&2
  exit 1
fi
mkdir -m 700 secrets

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
# The directory of PostgreSQL's unix socket, which the services share in place of a network.
url() { echo "postgresql://$1:$2@/providerd?host=/var/run/postgresql"; }

owner=$(random)
daemon=$(random)
echo "$owner" >secrets/owner-password
echo "$daemon" >secrets/daemon-password
echo "SUPABASE_DB_URL=$(url postgres "$owner")" >secrets/owner.env
{
  echo "SUPABASE_DB_URL=$(url fleet_daemon "$daemon")"
  echo "DB_ENCRYPTION_KEY=$(random)"
} >secrets/daemon.env
chmod 444 secrets/*
echo "made secrets/: keep a copy of secrets/daemon.env, apart from the backups of the database"
