"""What Gradio's own routes lack: uploads that leave nothing behind, and a queue whose answers do not pile up.

Gradio's functions are replaced by name, so tests/app/ attacks a running page to see that they still are.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradio import routes
from gradio.queueing import Queue
from gradio.server_messages import EventMessage, ProcessCompletedMessage
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .. import limits
from ..guard import addresses
from ..guard.bodies import STATUSES
from ..guard.budget import Budget, client_of
from ..guard.forms import FIELD, read_form
from ..guard.stored import Store
from ..limits import BusyError, RequestError

UPLOAD_SECONDS = 600
MAX_ID = 100  # characters of a session or an upload
TRACKED_SECONDS = 15  # how long the progress of an upload is told after its end
MAX_SESSIONS = 200
MAX_ANALYTICS = 100  # events of which Gradio computes statistics that nobody sees here
SWEEP_SECONDS = 30

store = Store()


async def receive_uploads(
    request: Request,
    upload_dir: str,
    max_file_size: float,
    upload_id: str | None,
    force_move: bool = True,
    upload_progress: Any = None,
) -> tuple[list[str], list[str], list[str]]:
    """In the place of gradio's upload_fn: paths of the uploaded files, and nothing to be moved."""
    if upload_id and len(upload_id) > MAX_ID:
        raise HTTPException(422, "This upload_id is too long.")
    if upload_id and upload_progress is not None:
        upload_progress.track(upload_id)
    try:
        return await save_files(request, Path(upload_dir), int(max_file_size)), [], []
    except RequestError as error:
        status, _ = next(answer for kind, answer in STATUSES.items() if isinstance(error, kind))
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else None
        raise HTTPException(status, str(error), headers) from None
    finally:
        if upload_id and upload_progress is not None:
            upload_progress.set_done(upload_id)
            asyncio.get_running_loop().call_later(TRACKED_SECONDS, upload_progress.stop_tracking, upload_id)


async def save_files(request: Request, folder: Path, max_file_bytes: int) -> list[str]:
    """Raises RequestError; then no file of the form stays."""
    form, parser, share = await read_form(request, max_file_bytes, UPLOAD_SECONDS)
    client = client_of(request.scope)
    saved: list[Path] = []
    try:
        for file in form.getlist(FIELD):
            if not isinstance(file, str):
                saved.append(await run_in_threadpool(store.save, file.file, file.filename or "", folder, client))
        if not saved:
            raise RequestError(f"Send at least one file as the form field {FIELD!r}.")
        return [str(path) for path in saved]
    except BaseException:
        for path in saved:
            path.unlink(missing_ok=True)
        raise
    finally:
        parser.shared.close()
        share.give_back()


class BoundedAnswers:
    """Keeps Gradio's queue from growing: what waits to be computed, and answers that nobody has fetched yet."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.waiting = Budget(limits.MAX_MEMORY_BYTES)
        self.held: dict[str, tuple[str, int]] = {}  # what each unfinished event holds: client, bytes
        self.unfetched: dict[str, tuple[str, int, float]] = {}  # what each finished one holds: session, bytes, since
        self.sessions: dict[str, float] = {}
        self.sweeping = False
        self._push, self._send = queue.push, queue.send_message
        addresses.queues.add(self)
        queue.ANALYTICS_MAX_EVENTS = MAX_ANALYTICS
        queue.push = self.push  # type: ignore[method-assign]
        queue.send_message = self.send  # type: ignore[method-assign, assignment]

    async def push(self, body: Any, request: Any, username: Any) -> tuple[bool, Any, Any]:
        self.release_finished()
        session, client = body.session_hash, client_of(request.scope)
        if session is not None and len(session) > MAX_ID:
            return False, "This session_hash is too long.", "error"
        size = size_of(body.data)
        try:
            self.waiting.add(client, size)
        except BusyError as error:
            return False, str(error), "queue_full"
        accepted, answer, state = False, None, None
        try:
            accepted, answer, state = await self._push(body, request, username)
        finally:
            if accepted:
                self.held[str(answer)] = (client, size)
            else:
                self.waiting.remove(client, size)
        self.sessions.pop(body.session_hash, None)
        self.sessions[body.session_hash] = time.monotonic()
        self.start_sweeping()
        return accepted, str(BusyError()) if state == "queue_full" else answer, state

    def send(self, event: Any, message: EventMessage) -> None:
        """Into the session's messages, unless the session is gone."""
        if event.session_hash not in self.queue.pending_messages_per_session:
            return
        self._send(event, message)
        if isinstance(message, ProcessCompletedMessage):
            self.unfetched[event._id] = (event.session_hash, size_of(message.output), time.monotonic())
            self.drop_excess()
            if event.session_hash == event._id:  # a call without a session, whose state nobody can use again
                self.drop_state(event.session_hash)

    def knows(self, name: str) -> bool:
        """Whether answers wait, or will, under this session or event."""
        queue = self.queue
        if name in queue.pending_messages_per_session or name in queue.event_ids_to_events:
            return True
        return any(name in events for events in queue.pending_event_ids_session.values())

    def drop_state(self, session: str) -> None:
        """Gradio keeps a copy of the page's configuration for each of 10,000 sessions."""
        if self.queue.server_app is not None:
            holder = self.queue.server_app.state_holder
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)

    def release_finished(self) -> None:
        for event in [event for event in self.held if event not in self.queue.event_ids_to_events]:
            self.waiting.remove(*self.held.pop(event))

    def drop_excess(self) -> None:
        """Forget the answers of the sessions that fetch nothing, the oldest first."""
        pending = self.queue.pending_event_ids_session
        self.unfetched = {event: entry for event, entry in self.unfetched.items() if event in pending.get(entry[0], ())}
        oldest = time.monotonic() - limits.RESULT_SECONDS
        while self.unfetched:
            counts = [entry[0] for entry in self.unfetched.values()]
            session, _, since = next(iter(self.unfetched.values()))
            crowded = next((name for name in set(counts) if counts.count(name) > limits.MAX_RESULTS), None)
            too_much = sum(entry[1] for entry in self.unfetched.values()) > limits.MAX_RESULT_BYTES
            if crowded is None and not too_much and since > oldest:
                return
            self.forget(crowded or session)

    def forget(self, session: str) -> None:
        self.queue.pending_messages_per_session.pop(session, None)
        self.queue.pending_event_ids_session.pop(session, None)
        self.sessions.pop(session, None)
        self.drop_state(session)
        self.unfetched = {event: entry for event, entry in self.unfetched.items() if entry[0] != session}

    def idle_sessions(self) -> Iterator[str]:
        """Those without an event under way, whose time is over or which are too many."""
        busy = {event.session_hash for event in self.queue.event_ids_to_events.values()}
        oldest = time.monotonic() - limits.RESULT_SECONDS
        for number, (session, since) in enumerate(list(self.sessions.items())):
            if session not in busy and (since < oldest or len(self.sessions) - number > MAX_SESSIONS):
                yield session

    def start_sweeping(self) -> None:
        if not self.sweeping:
            self.sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)

    def sweep(self) -> None:
        self.sweeping = False
        self.release_finished()
        self.drop_excess()
        for session in self.idle_sessions():
            self.forget(session)
        if self.sessions or self.held or self.unfetched:
            self.start_sweeping()


def size_of(value: Any) -> int:
    """About how many bytes a JSON value takes; its texts count."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(size_of(item) for item in value.values()) + 64 * len(value)
    if isinstance(value, (list, tuple)):
        return sum(size_of(item) for item in value) + 64 * len(value)
    return 32


def replace_routes() -> None:
    routes.upload_fn = receive_uploads  # type: ignore[attr-defined]
