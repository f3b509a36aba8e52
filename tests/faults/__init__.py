"""The fault rig: real daemons over a real PostgreSQL, hurt on purpose, under load, and a checker of what came of it.

``PROVIDERD_FAULTS=full`` runs every fault at full length, as ``make faults`` does; without it a short form of each.
"""
