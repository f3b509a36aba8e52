"""The thin SDK of providerd."""
