"""Protobuf by hand, for messages that no library makes: https://protobuf.dev/programming-guides/encoding/."""

# Field numbers of google.protobuf.Struct, Value and ListValue.
_FIELDS, _KEY, _VALUE = 1, 1, 2
_STRUCT_VALUE, _LIST_VALUE, _STRING_VALUE = 5, 6, 3


def varint(number: int) -> bytes:
    """A number of up to 64 bits."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def tag(field: int, wire_type: int) -> bytes:
    """What stands before a value."""
    return varint(field << 3 | wire_type)


def delimited(field: int, content: bytes) -> bytes:
    """A string, bytes or a message."""
    return tag(field, 2) + varint(len(content)) + content


def text_value(text: bytes) -> bytes:
    """A Value that is a string, of any bytes."""
    return delimited(_STRING_VALUE, text)


def struct(members: list[tuple[bytes, bytes]]) -> bytes:
    """A Struct of names and encoded Values."""
    return b"".join(delimited(_FIELDS, delimited(_KEY, name) + delimited(_VALUE, value)) for name, value in members)


def nested_struct(depth: int, inmost: bytes = b"") -> bytes:
    """A Struct within a Struct, and so on."""
    encoded = inmost
    for _ in range(depth):
        encoded = struct([(b"a", delimited(_STRUCT_VALUE, encoded))])
    return encoded


def nested_list(depth: int) -> bytes:
    """A Struct whose member is a list in a list, and so on."""
    encoded = b""
    for _ in range(depth):
        encoded = delimited(1, delimited(_LIST_VALUE, encoded))
    return struct([(b"a", delimited(_LIST_VALUE, encoded))])
