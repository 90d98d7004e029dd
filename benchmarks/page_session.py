"""A shop employee at the page, by script: photos dropped into Sort, every one "to check" decided, the CSV downloaded.

    python -m benchmarks.page_session --photos ../shared/data/clothing/validation --label_map \
        evaluation/label_maps/clothing.json [--number 200] [--kbit_per_second 750] [--csv corrected.csv]

The photos' folders say the truth, the label map which of the model's categories count as it. The person accepts a
whole group with one tap where everything in it is right, and decides the rest by keys, KEY_SECONDS apart: A for the
suggestion, 2 to 5 for another candidate, L with a few letters and Enter (two actions) for any other category. Then the
script reads the CSV. A lost key is one after which no decision more was there. Ends with 1 if something is not decided
or a key was lost. Needs Chromium and playwright (the extra "dev").

200 of these photos (SEED), 149 to check, on 2 busy cores of an Intel Xeon: sorted after 19.0 s, corrected CSV after
34.2 s, 111 actions (0.74 per image to check), no key lost; at 750 kbit/s 60 of them: 13.7 s and 25.2 s.
"""

import csv
import io
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import OneLineParser, UserError, one_line_errors
from benchmarks.attacked_server import attacked_server

CHROMIUM = "/usr/bin/chromium"
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
WINDOW = {"width": 1280, "height": 900}
KEY_SECONDS = 0.05
MOST_SECONDS = 1200
MAX_ACTIONS = 1.2  # per image to check
SEED = 17
STATE = "snapshelf.workbench.state"
OPEN = """() => { const { view, rowsOf } = snapshelf.workbench.view, { state } = snapshelf.workbench;
  const row = (one) => ({ name: one.name, suggestions: state.candidates(one).map(({ label }) => label) });
  const at = Math.max(0, view.order.indexOf(view.current));
  return rowsOf([...view.order.slice(at), ...view.order.slice(0, at)]).filter(state.isOpen).map(row); }"""
GROUPS = """() => [...document.querySelectorAll(".wb-list section")].map((section) => section.dataset.group)
  .map((name) => [name, snapshelf.workbench.view.acceptable(name).map(({ name, answer }) => [name, answer.label])])"""


@dataclass(slots=True)
class Session:
    """What happened. Seconds from the drop on: until all had their answer, and until the file was there."""

    photos: int
    to_check: int = 0
    sorted_seconds: float = 0.0
    total_seconds: float = 0.0
    actions: int = 0
    keys: int = 0
    lost_keys: int = 0


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(prog="python -m benchmarks.page_session", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="one folder of photos per class")
    parser.add_argument(
        "--label_map", type=Path, required=True, metavar="FILE", help="JSON: class -> the model's labels"
    )
    parser.add_argument("--number", type=int, default=200, help="of photos (default: %(default)s)")
    parser.add_argument("--kbit_per_second", type=int, default=0, help="slow the line down to this (default: as it is)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="keep the corrected CSV here")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        label_map = json.loads(args.label_map.read_text(encoding="utf-8"))
        photos = chosen(args.photos, list(label_map), args.number)
        with attacked_server() as server, opened_page(server.address, args.kbit_per_second) as page:
            session, text = work(page, photos, label_map)
        if args.csv:
            args.csv.write_text(text, encoding="utf-8")
        return report(session, list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))), photos, label_map)


def chosen(folder: Path, classes: Sequence[str], number: int) -> dict[str, Path]:
    """A drawn sample of the photos, by file name. Raises UserError."""
    paths = sorted(path for name in classes for path in (folder / name).glob("*.jp*g"))
    if len(paths) < number:
        raise UserError(f"{folder} has {len(paths)} photos in the folders {', '.join(classes)}; --number is {number}")
    return {path.name: path for path in random.Random(SEED).sample(paths, number)}


@contextmanager
def opened_page(address: str, kbit_per_second: int) -> Iterator[Any]:
    """The page in Chromium. Raises UserError without playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError('playwright is missing; install it: pip install -e ".[dev]"') from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        page = browser.new_context(viewport=WINDOW, accept_downloads=True).new_page()
        page.set_default_timeout(1000 * MOST_SECONDS)
        page.goto(address)
        page.get_by_role("tab", name="Sort", exact=True).click()
        page.wait_for_selector("#workbench .wb")
        if kbit_per_second:
            rate = kbit_per_second * 1000 / 8
            line = {"offline": False, "latency": 50, "downloadThroughput": rate, "uploadThroughput": rate}
            page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
        yield page
        browser.close()


def work(page: Any, photos: Mapping[str, Path], label_map: Mapping[str, Sequence[str]]) -> tuple[Session, str]:
    """From the drop to the text of the CSV."""
    session, start = Session(len(photos)), time.monotonic()
    page.set_input_files("#workbench input[multiple]", [str(path) for path in photos.values()])
    page.wait_for_function(f"(({{all, waiting}}) => all === {len(photos)} && !waiting)({STATE}.counts())")
    page.wait_for_timeout(300)
    session.sorted_seconds = time.monotonic() - start
    session.to_check = page.evaluate(f"{STATE}.counts().needed")
    for kind in ("review", "unknown"):
        chip = page.locator(f".wb-filters [data-value={kind}]")
        if chip.count():
            chip.click()
            session.actions += 1
            accept_groups(page, session, photos, label_map)
            decide_by_keys(page, session, photos, label_map)
    page.locator(".wb-bar [data-act=download]").click()
    with page.expect_download() as download:
        page.locator(".wb-save [data-value=csv]").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    session.total_seconds = time.monotonic() - start
    session.actions += 2
    return session, text


def accept_groups(
    page: Any, session: Session, photos: Mapping[str, Path], label_map: Mapping[str, Sequence[str]]
) -> None:
    """One tap for each group of several in which everything is right, on each page."""
    while True:
        for name, rows in page.evaluate(GROUPS):
            if len(rows) > 1 and all(label in label_map[photos[file].parent.name] for file, label in rows):
                page.locator(f'[data-act=accept-group][data-value="{name}"]').first.click()
                session.actions += 1
        following = page.locator(".wb-pages [data-act=turn]").last
        if not following.is_visible() or following.is_disabled():
            return
        following.click()
        session.actions += 1


def decide_by_keys(
    page: Any, session: Session, photos: Mapping[str, Path], label_map: Mapping[str, Sequence[str]]
) -> None:
    """All that is left, in the order in which the page goes on by itself."""
    rows = page.evaluate(OPEN)
    before = page.evaluate(f"{STATE}.counts().open")
    for row in rows:
        right = label_map[photos[row["name"]].parent.name]
        places = [place for place, label in enumerate(row["suggestions"]) if label in right]
        if places:
            page.keyboard.press("a" if places[0] == 0 else str(places[0] + 1))
        else:
            page.keyboard.press("l")
            page.keyboard.type(right[0])
            page.keyboard.press("Enter")
        session.actions += 1 if places else 2
        session.keys += 1
        time.sleep(KEY_SECONDS)
    session.lost_keys += len(rows) - (before - page.evaluate(f"{STATE}.counts().open"))


def report(
    session: Session,
    lines: Sequence[Mapping[str, str]],
    photos: Mapping[str, Path],
    label_map: Mapping[str, Sequence[str]],
) -> int:
    """Print the figures; 1 where something was left or lost."""
    left = sum(line["decided_by"] == "" for line in lines)
    labels = {line["file"]: label_map[photos[line["file"]].parent.name] for line in lines}
    suggested = sum(line["label"] in labels[line["file"]] for line in lines)
    ready = [line for line in lines if line["decided_by"] == "model"]
    ready_right = sum(line["label"] in labels[line["file"]] for line in ready)
    each = session.actions / max(1, session.to_check)
    print(f"{len(lines)} photos, {session.to_check} to check, {len(ready)} ready ({ready_right} of them right)")
    print(f"sorted after {session.sorted_seconds:.1f} s, corrected CSV after {session.total_seconds:.1f} s")
    print(f"{session.actions} actions, {each:.2f} per image to check (at most {MAX_ACTIONS})")
    print(f"{session.keys} decisions by keys {1000 * KEY_SECONDS:.0f} ms apart, {session.lost_keys} lost")
    print(f"right before: {suggested} of {len(lines)}; left undecided: {left}")
    return int(left > 0 or session.lost_keys > 0 or each > MAX_ACTIONS or len(lines) != session.photos)


if __name__ == "__main__":
    sys.exit(main())
