"""Large results of steps are packed in the store: what a tool or a model returns is text, most of which says little.

Guarantees: what was packed comes back byte for byte; a piece that packing does not make smaller is kept as it is, and
so are those of before there was packing: they are pieces of JSON, which never begin as what is packed does.
"""

import zlib

_BEGINNING = b"x\x01"
"""Of zlib's quickest level. JSON has no control characters."""


def packed(piece: bytes) -> bytes:
    """A piece of a result's JSON, in fewer bytes if that can be."""
    smaller = zlib.compress(piece, 1)
    assert smaller.startswith(_BEGINNING)
    return smaller if len(smaller) < len(piece) else piece


def unpacked(piece: bytes) -> bytes:
    """What `packed` was called with. Damaged ones stay as they are: the value's hash then says so."""
    if not piece.startswith(_BEGINNING):
        return piece
    try:
        return zlib.decompress(piece)
    except zlib.error:
        return piece
