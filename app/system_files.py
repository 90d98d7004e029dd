"""Folders and files that an operating system, a NAS or a camera puts beside people's images, by name."""

from pathlib import PurePosixPath

LEFT_BEHIND = frozenset(
    {
        *("__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"),
        *("recycler", "recycled", "system volume information", "lost+found", "network trash folder"),
        *("temporary items", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    }
)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of this name is hidden (.AppleDouble, .DS_Store, ._a.jpg) or the system's own."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def is_below_left_behind(path: str) -> bool:
    """The same for any part of a path with forward slashes; . and .. are only odd."""
    return any(is_left_behind(part) for part in PurePosixPath(path).parts if part not in (".", ".."))
