"""The providerd daemon."""
