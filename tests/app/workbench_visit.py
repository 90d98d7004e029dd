"""What a person does in the tab Sort, for the tests in Chromium."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.app.visit import Visit
from tests.drawings import draw, encode

COUNTS = "snapshelf.workbench.state.counts()"
DECIDED = "[...snapshelf.workbench.state.rows.values()].filter(snapshelf.workbench.state.decisionOf).length"


def drawn(folder: Path, number: int, first: int = 0) -> list[Path]:
    """Photos of nothing, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo_{seed:02}.jpg" for seed in range(first, first + number)]
    for seed, path in enumerate(paths, start=first):
        path.write_bytes(encode(draw(seed, (120, 160))))
    return paths


def open_sort(visit: Visit, model: str = "") -> None:
    visit.open("Sort")
    visit.page.wait_for_selector("#workbench .wb")
    if model:
        visit.page.locator("#workbench [data-act=model]").select_option(model)


def give(visit: Visit, *paths: Path) -> None:
    visit.page.set_input_files("#workbench input[multiple]", [str(path) for path in paths])


def add(visit: Visit, paths: Sequence[Path], expected: int | None = None) -> dict[str, int]:
    """The counts once every image has its answer."""
    before = visit.page.evaluate(COUNTS)["all"]
    give(visit, *paths)
    return wait_for(visit, before + (len(paths) if expected is None else expected))


def wait_for(visit: Visit, number: int) -> dict[str, int]:
    visit.page.wait_for_function(f"(({{all, waiting}}) => all === {number} && !waiting)({COUNTS})")
    visit.page.wait_for_function("snapshelf.workbench.view.isDrawn()")  # a little later
    return visit.page.evaluate(COUNTS)


def cards(visit: Visit) -> Any:
    return visit.page.locator("#workbench .wb-list .wb-card")


def names(visit: Visit) -> list[str]:
    """The files on the page, in their order."""
    return visit.page.locator("#workbench .wb-list .wb-file").all_inner_texts()


def card(visit: Visit, name: str) -> Any:
    return cards(visit).filter(has=visit.page.get_by_text(name, exact=True))


def show(visit: Visit, text: str) -> None:
    """One of the filters."""
    visit.page.locator(".wb-filters button", has_text=text).click()


def is_shown(visit: Visit, text: str) -> bool:
    return visit.page.locator("#workbench .wb-message", has_text=text).is_visible()


def settled(visit: Visit) -> None:
    """Until the browser has written down what it keeps."""
    visit.page.evaluate("snapshelf.workbench.store.settled()")


def download(visit: Visit, name: str) -> Path:
    visit.page.locator(".wb-bar").get_by_role("button", name="Download").click()
    with visit.page.expect_download() as file:
        visit.page.locator(".wb-save").get_by_role("button", name=name).click()
    return Path(file.value.path())
