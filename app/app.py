"""The page: classify a product photo or a screenshot, sort many photos, compare the models' scores.

    python -m app.server        # the page with the REST API (make app)
    python app/app.py           # the page alone, as on Hugging Face Spaces; http://127.0.0.1:7860

SNAPSHELF_REVIEW=data/mine adds a prepared dataset to the tab Sort, which then writes corrections.csv on this machine.
Leave it off on a public page. SNAPSHELF_TEACH=1 adds the tab Teach where train.py can run.
"""

import os
import signal
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

if not __package__:  # run as a script, as on Spaces: this folder, whatever it is called there, is the package `app`
    _folder = Path(__file__).resolve().parent
    _spec = spec_from_file_location("app", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    assert _spec and _spec.loader
    sys.modules["app"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["app"])
    __package__ = "app"

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware

from . import limits
from .api.gradio_endpoints import add_endpoints
from .decode_pool import DecodePool
from .errors import OneLineParser, UserError, one_line_errors
from .guard.bodies import LimitBodies
from .guard.exposure import Browsers, DropForwarded, Exposure
from .guard.stored import emptied, upload_folder
from .pages.about import add_about
from .pages.classify import add_classify
from .pages.leaderboard import add_leaderboard
from .pages.names import add_names
from .pages.rendering import render
from .pages.review_queue import ReviewQueue
from .pages.safe_gradio import SafeBlocks
from .pages.screenshot import add_screenshot
from .pages.teach import add_teach
from .pages.theme import page_options
from .pages.workbench import add_workbench
from .service import Service
from .teach.teacher import Teacher, teaching

EXAMPLES = Path(__file__).resolve().parent / "examples"
SCREENSHOTS = "screenshot*.jpg"
EXIT_STOPPED = 143  # by SIGTERM
OFF = ("", "0", "false", "no")
ON = ("1", "true", "yes")


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(prog="app.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--review", metavar="DATASET", help="review this prepared dataset in the tab Sort")
    parser.add_argument("--corrections", metavar="FILE", help="where that is written (default: corrections.csv)")
    parser.add_argument("--teach", action="store_true", help="add the tab Teach, in which visitors train models")
    parser.add_argument("--host", default=None, help="0.0.0.0 lets other machines in (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="default: 7860 or the next free one")
    args = parser.parse_args(argv)
    with one_line_errors(parser), upload_folder() as folder, teaching(args.teach) as teacher:
        service = Service(pool=DecodePool(limits.MAX_RUNNING))
        page = build_page(service, args.review, args.corrections, teacher)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_STOPPED))  # so that the uploads are deleted
        with emptied(folder):
            page.launch(server_name=args.host, server_port=args.port, show_error=False, **launch_options())
    return 0


def build_page(
    service: Service,
    review: str | None = None,
    corrections: str | Path | None = None,
    teacher: Teacher | None = None,
) -> SafeBlocks:
    """The whole page.

    review: a prepared dataset to go through in Sort, by default what SNAPSHELF_REVIEW says. corrections: the file that
        this writes, or SNAPSHELF_CORRECTIONS. teacher: for the tab Teach, None for none.
    Raises UserError for a dataset or a file that cannot be used.
    """
    queue = review_queue(service, review, corrections)
    examples, screenshots = example_images()
    with SafeBlocks(title="Snapshelf", fill_width=False) as page:
        add_endpoints(service)  # first, so that no event of the page takes one of their names
        gr.HTML(render("header"), elem_id="site")
        add_names(service)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Classify", elem_id="tab-classify"):
                add_classify(service, examples)
            with gr.Tab("Screenshot", elem_id="tab-screenshot"):
                add_screenshot(service, screenshots)
            with gr.Tab("Sort", elem_id="tab-sort"):
                add_workbench(service, queue)
            if teacher:
                with gr.Tab("Teach", elem_id="tab-teach") as tab:
                    add_teach(service, teacher, tab)
            with gr.Tab("How accurate is it?", elem_id="tab-accuracy") as tab:
                add_leaderboard(service, tab)
            with gr.Tab("About", elem_id="tab-about"):
                add_about(service, teaches=teacher is not None)
    return page


def review_queue(service: Service, review: str | None, corrections: str | Path | None) -> ReviewQueue | None:
    review = os.environ.get("SNAPSHELF_REVIEW", "") if review is None else review
    if review.lower() in OFF:
        return None
    if review.lower() in ON:
        raise UserError("SNAPSHELF_REVIEW takes a prepared dataset, such as data/mine; the tab Sort needs no option")
    path = Path(corrections or os.environ.get("SNAPSHELF_CORRECTIONS") or "corrections.csv")
    return ReviewQueue(service, path, Path(review))


def example_images() -> tuple[list[Path], list[Path]]:
    """Photos and screenshots to try the page with."""
    screenshots = sorted(EXAMPLES.glob(SCREENSHOTS))
    return [path for path in sorted(EXAMPLES.glob("*.jpg")) if path not in screenshots], screenshots


def launch_options() -> dict[str, Any]:
    """What the page needs from launch(), with the limits that surround it."""
    exposure = Exposure(trusted_proxies=("*",) if os.environ.get("SPACE_ID") else ())  # Spaces have a proxy in front
    around = [Middleware(DropForwarded, exposure), Middleware(Browsers, exposure), Middleware(LimitBodies)]
    return {**page_settings(), "app_kwargs": {"middleware": around, "exception_handlers": HANDLERS}}


def page_settings() -> dict[str, Any]:
    """What the page needs from launch() and mount_gradio_app() alike."""
    return {
        **page_options(),
        "max_file_size": limits.MAX_BATCH_BYTES,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": find_spec("mcp") is not None,
    }


def mount_page(
    app: FastAPI, service: Service, path: str = "/", root_path: str = "", teacher: Teacher | None = None
) -> FastAPI:
    """Put the page into a FastAPI application; returns it. root_path: what a reverse proxy puts before `path`."""
    handlers = {"exception_handlers": HANDLERS}
    settings = {"root_path": root_path, "show_error": False, "app_kwargs": handlers, **page_settings()}
    return gr.mount_gradio_app(app, build_page(service, teacher=teacher), path, **settings)


async def refuse_invalid(_: Request, error: Exception) -> JSONResponse:
    """What is wrong, without repeating what was sent."""
    details = error.errors() if isinstance(error, RequestValidationError) else []
    reasons = [f"{'.'.join(map(str, detail['loc'][1:]))}: {detail['msg']}"[:200] for detail in details[:5]]
    return JSONResponse({"detail": "; ".join(reasons)}, 422)


HANDLERS = {RequestValidationError: refuse_invalid}


if __name__ == "__main__":
    sys.exit(main())
