"""Gradio for the public: what it leaves open by default is closed here, once for the whole page.

A caller of a Gradio app may name any address as a file, which Gradio then fetches; in an app that is mounted in another
one, also any path of the server, which Gradio then reads; and its own image component decodes every upload before the
app's function could reject it. Here a file is something that was uploaded, and only our own loader opens it.
"""

import base64
import binascii
import functools
import html
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.utils import get_upload_folder

from .. import limits
from ..limits import BusyError, RequestError, TooLargeError, UnreadableError
from .safe_routes import BoundedAnswers, replace_routes, store

CACHE_SECONDS = (600, 3600)  # every ten minutes, uploads older than an hour are deleted
MAX_QUEUE = 64
OUR_FAULT = "Something went wrong on our side. Please try again; if it keeps happening, try another image."
ONLY_UPLOADS = "Only uploaded files and data-URLs can be used; addresses are not fetched and paths are not read."

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("snapshelf")


class SafeBlocks(gr.Blocks):
    """Blocks that take uploaded files only, have a bounded queue and delete uploads after an hour."""

    def __init__(self, **options: Any) -> None:
        super().__init__(analytics_enabled=False, delete_cache=CACHE_SECONDS, **options)
        replace_routes()
        self.queue(max_size=MAX_QUEUE, default_concurrency_limit=limits.MAX_RUNNING + limits.MAX_WAITING + 2)

    def queue(self, *arguments: Any, **options: Any) -> gr.Blocks:
        """As in gradio, but bounded in bytes too, and a full queue answers with our message."""
        super().queue(*arguments, **options)
        self.answers = BoundedAnswers(self._queue)
        return self

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """Raises gr.Error if the inputs name a file that was not uploaded."""
        folder = Path(get_upload_folder()).resolve()
        inputs = [
            [_stored(item, folder) if isinstance(item, str) else item for item in value]
            if isinstance(component, Files) and isinstance(value, list)
            else value
            for component, value in zip(block_fn.inputs, inputs, strict=False)
        ] + list(inputs[len(block_fn.inputs) :])
        for path in _named_files(inputs):
            if not (isinstance(path, str) and _lies_in(path, folder)):
                raise gr.Error(ONLY_UPLOADS, print_exception=False)
        missing = block_fn.inputs[len(inputs) :]
        if all(isinstance(component, gr.Textbox) for component in missing):  # callers from before there were titles
            inputs = [*inputs, *("" for _ in missing)]
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)


def _stored(text: str, folder: Path) -> dict[str, Any]:
    """A data-URL of an assistant's list as an uploaded file: Gradio does that for single images only.

    Raises gr.Error for any other text.
    """
    if not text.startswith("data:"):
        raise gr.Error(ONLY_UPLOADS, print_exception=False)
    try:
        path = store.save(io.BytesIO(_data_url_bytes(text)), "image", folder, "assistants")
    except RequestError as error:
        raise as_gradio_error(error) from None
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def _named_files(data: Any) -> Iterator[Any]:
    """Every file that inputs name, wherever in them and whatever component they are for."""
    if isinstance(data, dict):
        if "path" in data and data["path"] is not None:
            yield data["path"]
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from _named_files(item)


def _lies_in(path: str, folder: Path) -> bool:
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder)
    except (OSError, ValueError):  # a null byte, a name that is too long
        return False


class SafeImage(gr.Image):
    """An image component that passes on what was sent, unopened: a path, or the bytes of a data-URL."""

    is_template = True  # the browser shows it as its parent

    def preprocess(self, payload: Any) -> Path | bytes | None:  # type: ignore[override]
        """Raises gr.Error for a data-URL that is invalid or too long."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return _data_url_bytes(payload.url)
            except RequestError as error:
                raise as_gradio_error(error) from None
        return Path(payload.path) if payload.path else None


def _data_url_bytes(url: str) -> bytes:
    if len(url) > limits.MAX_FILE_BYTES * 4 / 3 + 100:
        raise TooLargeError(f"This image is too large; at most {limits.megabytes(limits.MAX_FILE_BYTES)} are allowed.")
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError("This image cannot be used: its data-URL is damaged.") from None


class Files(gr.File):
    """A file component that passes on the uploads unopened: a list of (the user's own name, path)."""

    is_template = True

    def api_info(self) -> dict[str, Any]:
        """With the description of one file in its place: Gradio's MCP server does not look it up."""
        info = super().api_info()
        definitions = info.pop("$defs", {})
        if file := definitions.get("FileData"):
            meta = definitions["FileDataMeta"]
            info["items"] = {**file, "properties": {**file["properties"], "meta": meta}}
        return info

    def preprocess(self, payload: Any) -> list[tuple[str, Path]]:  # type: ignore[override]
        if payload is None:
            return []
        files = payload.root if hasattr(payload, "root") else [payload]
        return [(file.orig_name or Path(file.path).name, Path(file.path)) for file in files if file.path]


def as_gradio_error(error: RequestError) -> gr.Error:
    """What the browser and the API show, escaped, since Gradio renders markup in it."""
    title = "Please wait" if isinstance(error, BusyError) else "This did not work"
    return gr.Error(html.escape(str(error), quote=False), title=title, print_exception=False)


def show_user_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Show RequestErrors of a page's function as one line; any other exception goes to the log only."""

    @functools.wraps(function)
    def with_user_errors(*arguments: P.args, **options: P.kwargs) -> R:
        with user_errors(function.__name__):
            return function(*arguments, **options)

    return with_user_errors


def stream_user_errors(function: Callable[P, Iterator[R]]) -> Callable[P, Iterator[R]]:
    """The same for a generator."""

    @functools.wraps(function)
    def with_user_errors(*arguments: P.args, **options: P.kwargs) -> Iterator[R]:
        with user_errors(function.__name__):
            yield from function(*arguments, **options)

    return with_user_errors


@contextmanager
def user_errors(name: str) -> Iterator[None]:
    """name: of what is done, for the log."""
    try:
        yield
    except gr.Error:
        raise
    except RequestError as error:
        raise as_gradio_error(error) from None
    except Exception:
        log.exception("%s failed", name)
        raise gr.Error(OUR_FAULT, print_exception=False) from None
