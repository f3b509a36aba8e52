#!/usr/bin/env python3
"""Imports config/admin_settings.json into the database; the same as ``providerd import admin-settings``."""

import sys

try:
    from providerd.cli.failures import report
    from providerd_server.admin_settings import command
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed here: pip install 'providerd[server,embedded]'")

if __name__ == "__main__":
    try:
        command.main(standalone_mode=False)
    except Exception as error:
        sys.exit(report(error, debug=False))
