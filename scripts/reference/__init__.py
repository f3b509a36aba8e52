"""The generators of docs/reference: each module makes one page from the source it describes."""
