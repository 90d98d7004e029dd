"""Put the page on Hugging Face Spaces: check what would go up, create the Space, upload what the page needs.

    python app/push_to_space.py USER/NAME --dry_run      # check, and list the files with their sizes; nothing is sent
    python app/push_to_space.py USER/NAME [--private]    # needs `hf auth login` or a token in HF_TOKEN

The code that goes up is app.py and every module of this folder that it imports, directly or not; the data is what DATA
and COPIES name; nothing else can slip in, and space_contents.py looks into each file.
"""

import argparse
import ast
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import httpx2  # huggingface_hub's HTTP client
from huggingface_hub import HfApi, constants, get_token, metadata_load
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

CHECKOUT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: this folder's modules are those of the package `app`
    sys.path.insert(0, str(CHECKOUT))

from app.space_contents import content_problems, own_secrets  # noqa: E402

CARD, REQUIREMENTS = "README.md", "requirements.txt"
PINS = REQUIREMENTS  # of the checkout: says which gradio the page was tested with
PACKAGE, PACKAGE_FILE = "app", "__init__.py"
OF_MODELS = [f"models/*/{name}" for name in ("README.md", "*.json", "*.onnx", "unknown_centres.npy", "attributes.npy")]
OF_PAGES = (
    "examples/*.jpg",
    "pages/assets/*.css",
    "pages/assets/*.js",
    "pages/assets/vendor/*.js",
    "pages/templates/*.html",
)
DATA = (CARD, REQUIREMENTS, *OF_MODELS, *OF_PAGES)
# How a model was trained, where its card says what a visitor needs; and the 8-bit graph, since the float one answers as
# well in 3 ms and the bundle stays small.
LEFT_OUT = ("arguments.json", "model.int8.onnx")
# What the page shows of results/, which lies beside app/ in the checkout and within the Space.
COPIES = ("leaderboard*.csv", "automation.png", "runs/*/reliability.png", "runs/*/confusion.png")
# What a push no longer contains is deleted from the Space, if it matches; "*.py" also matches within folders.
OURS = ["*.py", "models/*", "examples/*", "pages/*", "assets/*", "results/*"]
MAX_FILE_BYTES = 100 * 2**20
MAX_TOTAL_BYTES = 500 * 2**20  # a Space has 1 GB
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")  # the Hub takes no others
PYTHON_VERSION = re.compile(r"3\.\d+(\.\d+)?")
NAME_RULE = "letters, digits, '-', '_' and '.' only"
PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[A-Za-z0-9,._-]+\])?==([A-Za-z0-9.+!-]+)")
TOO_HEAVY = ("torch", "torchvision", "transformers", "datasets")  # the page needs none of them to classify


class PushError(ValueError):
    """Why nothing can be pushed, in one line."""


def main(argv: list[str] | None = None) -> int:
    """Ends with exit code 1 if something is wrong, 2 for wrong usage; returns 0 otherwise."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not is_repository(args.space):
        parser.exit(2, f"{parser.prog}: error: {args.space!r} is not a Space's name: give USER/NAME, {NAME_RULE}\n")
    try:
        files = space_files(CHECKOUT)
        print_files(files)
        if problems := list(find_problems(CHECKOUT, files)):
            raise PushError("nothing was sent:\n" + "\n".join(f"  {problem}" for problem in problems))
        if not args.dry_run:
            print(f"\n{push(args.space, args.private, files)}")
    except PushError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="push_to_space.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("space", metavar="USER/NAME", help="the Space; it is created if it does not exist")
    parser.add_argument("--private", action="store_true", help="only you can see a Space that this creates")
    parser.add_argument("--dry_run", action="store_true", help="check and list the files, send nothing")
    return parser


def is_repository(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def space_files(checkout: Path) -> dict[str, Path]:
    """What the Space needs: each path in the Space, in order, and the file. Raises PushError without app_file."""
    app = checkout / PACKAGE
    app_file = str(front_matter(app).get("app_file") or "app.py")
    data = {path for pattern in DATA for path in app.glob(pattern) if path.name not in LEFT_OUT}
    names = {path.relative_to(app).as_posix() for path in data} | local_modules(app, app_file)
    copies = {path for pattern in COPIES for path in (checkout / "results").glob(pattern)}
    files = {name: app / name for name in names} | {path.relative_to(checkout).as_posix(): path for path in copies}
    return {name: path for name, path in sorted(files.items()) if path.is_file()}


def copy_files(files: dict[str, Path], folder: Path) -> None:
    """Lay the files out as the Space holds them."""
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def local_modules(folder: Path, app_file: str) -> set[str]:
    """The names of `app_file` and all files of the package in `folder` that it imports, directly or not."""
    if Path(app_file).name != app_file or not (folder / app_file).is_file():
        raise PushError(f"app_file in {CARD} is {app_file!r}, which is not a file in {folder}")
    names: set[str] = set()
    waiting = [app_file, PACKAGE_FILE]
    while waiting:
        name = waiting.pop()
        if name not in names and (folder / name).is_file():
            names.add(name)
            package = ".".join((PACKAGE, *Path(name).parent.parts))
            for module in imported_modules(ast.parse((folder / name).read_bytes(), name), package):
                waiting += module_files(module)
    return names


def imported_modules(tree: ast.Module, package: str) -> Iterator[str]:
    """The full names of all modules imported anywhere in a file of `package`, and of what is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # may be modules, too


def module_files(module: str) -> Iterator[str]:
    """What is read when a module of the package is imported, if it exists: its own file and those of its packages."""
    first, *parts = module.split(".")
    if first == PACKAGE:
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            yield from (f"{path}.py", f"{path}/{PACKAGE_FILE}")


def front_matter(folder: Path) -> dict[str, Any]:
    try:
        return metadata_load(folder / CARD) or {}
    except (OSError, ValueError) as error:
        raise PushError(f"{CARD} has no readable front matter: {error}") from None
    except Exception as error:  # yaml's errors have a base class of their own, and yaml is not imported here
        raise PushError(f"{CARD}: its front matter is not YAML: {' '.join(str(error).split())}") from None


def find_problems(checkout: Path, files: dict[str, Path]) -> Iterator[str]:
    """What is wrong, one line per problem."""
    yield from card_problems(front_matter(checkout / PACKAGE), pinned_gradio(checkout))
    yield from requirement_problems(checkout / PACKAGE / REQUIREMENTS)
    yield from size_problems(files)
    if not any(Path(name).match("models/*/model.onnx") for name in files):
        yield "models/: no model folder, so there is nothing to classify with"
    own = own_secrets(get_token())
    for name, path in files.items():
        yield from (f"{name}: {problem}" for problem in content_problems(checkout, path, own))


def card_problems(card: dict[str, Any], gradio: str) -> Iterator[str]:
    """What the Hub would refuse, or build differently from what was tested with this version of gradio."""
    for key in ("title", "emoji", "license"):
        if not isinstance(card.get(key), str) or not card[key].strip():
            yield f"{CARD}: {key} is {card.get(key)!r}; it must be text"
    for key in ("colorFrom", "colorTo"):
        if card.get(key) not in COLORS:
            yield f"{CARD}: {key} is {card.get(key)!r}; it must be one of {', '.join(COLORS)}"
    if card.get("sdk") != "gradio":
        yield f"{CARD}: sdk is {card.get('sdk')!r}; it must be 'gradio'"
    if not isinstance(card.get("pinned"), bool):
        yield f"{CARD}: pinned is {card.get('pinned')!r}; it must be true or false"
    version = card.get("python_version")
    if not isinstance(version, str) or not PYTHON_VERSION.fullmatch(version):  # without quotes YAML reads 3.10 as 3.1
        yield f'{CARD}: python_version is {version!r}; it must be like "3.11", with the quotes'
    if card.get("sdk_version") != gradio:
        yield f"{CARD}: sdk_version is {card.get('sdk_version')!r}, but the checkout pins gradio to {gradio!r}"


def pinned_gradio(checkout: Path) -> str:
    """The version that the checkout's requirements pin. Raises PushError."""
    path = checkout / PINS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    versions = {pin[3] for pin in map(PIN.match, lines) if pin and pin[1].lower() == "gradio"}
    if len(versions) != 1:
        pins = ", ".join(sorted(versions)) or "nothing"
        raise PushError(f"{path} pins gradio to {pins}; one gradio==VERSION must equal sdk_version in {CARD}")
    return versions.pop()


def requirement_problems(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name}: missing"
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        requirement = line.partition("#")[0].strip()
        pin = PIN.fullmatch(requirement)
        if requirement and not pin:
            yield f"{path.name}:{number}: {requirement!r} is not pinned; write name==version"
        elif pin and pin[1].lower() == "gradio":
            yield f"{path.name}:{number}: gradio comes from sdk_version in {CARD}; remove it here"
        elif pin and pin[1].lower() in TOO_HEAVY:
            yield f"{path.name}:{number}: {pin[1]} is not needed to classify and too heavy for a Space"


def size_problems(files: dict[str, Path]) -> Iterator[str]:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            yield f"{name}: {readable(size)}, at most {readable(MAX_FILE_BYTES)} per file"
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        yield f"all files together: {readable(sum(sizes.values()))}, at most {readable(MAX_TOTAL_BYTES)}"


def print_files(files: dict[str, Path]) -> None:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in sizes.items():
        print(f"{readable(size):>10}  {name}")
    print(f"{readable(sum(sizes.values())):>10}  in {len(files)} files")


def readable(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.2f} KiB"


def push(space: str, private: bool, files: dict[str, Path]) -> str:
    """Create the Space if it does not exist, make it contain exactly these files of ours; returns its address."""
    if not get_token():
        raise PushError("no Hugging Face token: run `hf auth login`, or set HF_TOKEN to one that may write")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return create_and_upload(space, private, files)
    except OfflineModeIsEnabled:
        raise PushError("HF_HUB_OFFLINE is set, so the Hub cannot be reached: unset it") from None
    except HfHubHTTPError as error:
        raise PushError(rejection(error, space)) from None
    except (httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PushError(f"{constants.ENDPOINT} cannot be reached: {reason}") from None
    except ValueError as error:  # the Hub's own check of the front matter
        raise PushError(f"the Hub rejects {CARD}: {' '.join(str(error).split())}") from None


def create_and_upload(space: str, private: bool, files: dict[str, Path]) -> str:
    api = HfApi()
    address = api.create_repo(space, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy_files(files, Path(folder))
        api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=folder,
            allow_patterns=[name.replace("[", "[[]") for name in files],
            delete_patterns=OURS,
            commit_message="Push the page with its models",
        )
    return str(address)


def rejection(error: HfHubHTTPError, space: str) -> str:
    status = error.response.status_code if error.response is not None else None
    if status == 401:
        return "the Hub does not know this token: run `hf auth login` again, or renew HF_TOKEN"
    if status == 403:
        return f"this token may not write to {space}: use one with write access to {space.partition('/')[0]}"
    return f"the Hub answered {status}: {error.server_message or ' '.join(str(error).split())}"


if __name__ == "__main__":
    sys.exit(main())
