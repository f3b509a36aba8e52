"""Brings what ``admin_settings.json`` says of a provider, its API key above all, into the database."""

from providerd_server.admin_settings.program import command

__all__ = ["command"]
