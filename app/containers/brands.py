"""Which files of boxes are images: AVIF and HEIC, not films."""

BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"heif"))
BRANDS |= frozenset((b"mif1", b"mif2", b"msf1", b"miaf", b"MiHE", b"MiHB", b"MiHA", b"MiPr", b"tmap"))  # of both


def is_boxed_image(head: bytes) -> bool:
    """Whether a file that begins like this claims to be AVIF or HEIC, whichever brand comes first."""
    if head[4:8] != b"ftyp":
        return False
    stop = min(len(head), max(16, int.from_bytes(head[:4], "big")))
    return any(head[at : at + 4] in BRANDS for at in (8, *range(16, stop - 3, 4)))
