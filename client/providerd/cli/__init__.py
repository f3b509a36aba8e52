"""The program ``providerd``: the SDK for people and scripts. Needs the extra ``cli``."""
