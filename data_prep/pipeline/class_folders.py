"""Rows of a tree with one folder per class, with or without folders of splits above."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from app.errors import UserError
from app.taxonomy import PATH_SEPARATOR
from data_prep.pipeline.schema import Row
from data_prep.pipeline.trees import SPLIT_NAMES, Listing, Tree

NESTED = "nested"
LAYOUTS = ("auto", "classes", "splits", NESTED)


def read_class_folders(tree: Tree, layout: str) -> tuple[list[Row], list[str]]:
    """A row for each file, in the order of their names, and for what cannot be used; remarks.

    layout: classes, splits, nested for a class in each folder, or auto for splits where the folders are called so.
    """
    found = tree.listing()
    depth = 1 if has_splits(tree, found, layout) else 0  # of the class folders
    rows = [Row(printable(name), reject=reason) for name, reason in found.rejected]
    nested = 0
    num_files: Counter[str] = Counter()  # per class folder
    for name in found.files:
        parts = name.split("/")[:-1]
        num_files["/".join(parts[: depth + 1])] += 1
        nested += len(parts) > depth + 1
        rows.append(row_of_file(tree, name, parts, depth, layout == NESTED))
    rejected = {name for name, _ in found.rejected}
    classes = [name for name in found.folders if name.count("/") == depth and name not in rejected]
    rows += [Row(printable(name), reject="empty class folder") for name in classes if not num_files[name]]
    notes = [*found.notes, *hidden_note(found)]
    if nested and layout != NESTED:
        notes.append(
            f"Files in subfolders of their class folder: {nested}; the outer folder is the class (with --layout nested "
            "the inner ones are narrower classes)."
        )
    return rows, notes


def hidden_note(found: Listing) -> list[str]:
    return [f"Hidden files and folders passed over: {found.hidden}."] if found.hidden else []


def has_splits(tree: Tree, found: Listing, layout: str) -> bool:
    """Whether the folders of a tree are splits. Raises UserError when only some of them look like it."""
    names = [name for name in found.folders if "/" not in name]
    split_like = [name for name in names if name.casefold() in SPLIT_NAMES]
    if layout == "splits" and not split_like:
        raise UserError(f"{tree.path} has no folder called {', '.join(SPLIT_NAMES)}, so --layout splits finds nothing")
    if layout in ("auto", NESTED) and 0 < len(split_like) < len(names):
        others = [name for name in names if name not in split_like]
        raise UserError(
            f"{tree.path} has folders called like splits ({', '.join(split_like)}) and others "
            f"({', '.join(others)[:200]}): --layout splits leaves the others out, --layout classes makes each of them "
            "a class"
        )
    return layout == "splits" or (layout in ("auto", NESTED) and bool(split_like))


def row_of_file(tree: Tree, file: str, parts: Sequence[str], depth: int, nested: bool) -> Row:
    """The row of one file; its folders tell split and class. nested: all of them, as a path."""
    if file != printable(file):
        return Row(file=printable(file), reject="file name is not valid Unicode")
    if len(parts) <= depth:
        return Row(file=file, reject="not in a class folder")
    split = SPLIT_NAMES.get(parts[0].casefold()) if depth else ""
    if split is None:
        return Row(file=file, reject="not in a folder of a split")
    labels = {"label": PATH_SEPARATOR.join(map(clean_label, parts[depth:] if nested else [parts[depth]]))}
    return Row(file=file, id=file, image=tree.image(file), labels=labels, split=split)


def clean_label(text: str) -> str:
    """One way to write letters with accents, and plain single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def printable(name: str) -> str:
    """A file name that can be written to a text file: bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
