"""Hostile cases against a real daemon: each has a defined answer, changes nothing, and learns nothing of the inside."""
