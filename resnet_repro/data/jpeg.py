"""What a JPEG says of itself before its pixels: size, colours, EXIF."""

from collections.abc import Iterator

START, END = b"\xff\xd8", b"\xff\xd9"
# Markers of segments. A frame's header has size and components; there are kinds of frames.
BASELINE, PROGRESSIVE, SCAN = 0xC0, 0xC2, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JFIF, EXIF, ADOBE, UNUSED = 0xE0, 0xE1, 0xEE, 0xEF  # APP0, APP1, APP14, APP15
ADOBE_YCBCR = 1  # the last byte of Adobe's segment


def segments(jpeg: bytes | bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Yield the segments up to the pixels: marker, its place in the file, content.

    The last one is `SCAN`, unless the file is damaged or not a JPEG.
    """
    if not jpeg.startswith(START):
        return
    at = len(START)
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a byte that fills
            at += 1
            continue
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield marker, at, bytes(jpeg[at + 4 : end])
        if marker == SCAN:
            return
        at = end


def without_exif(content: bytes) -> bytearray | None:
    """Return a JPEG with its EXIF hidden, which TorchCodec would apply; None if not a JPEG."""
    jpeg = bytearray(content)
    for marker, at, _ in segments(jpeg):
        if marker == SCAN:
            return jpeg
        if marker == EXIF:
            jpeg[at + 1] = UNUSED
    return None


def size_if_standard(content: bytes) -> tuple[int, int] | None:
    """Return height and width of a JPEG of the usual kind; None of any other file.

    That is one which all decoders read alike: whole, baseline or progressive, 8 bits, grey or
    YCbCr. libjpeg's rules tell whether three components are YCbCr.
    """
    if not content.endswith(END):
        return None
    size, components = None, b""
    jfif, adobe = False, None
    for marker, _, header in segments(content):
        if marker in FRAMES:
            if marker not in (BASELINE, PROGRESSIVE) or len(header) < 6 or header[0] != 8:
                return None
            size = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
            components = header[6::3]  # their names, a byte each
        jfif = jfif or (marker == JFIF and header.startswith(b"JFIF\0"))
        if marker == ADOBE and header.startswith(b"Adobe") and len(header) >= 12:
            adobe = header[11]
        if marker == SCAN:
            unnamed = adobe is None and components == bytes([1, 2, 3])
            is_ycbcr = len(components) == 3 and (jfif or adobe == ADOBE_YCBCR or unnamed)
            return size if size and min(size) and (len(components) == 1 or is_ycbcr) else None
    return None
