"""Download a Kaggle dataset as one zip file that appears under its name only when it is whole.

The `kaggle` package does the work: it uses the credentials it finds, or none (public datasets allow that), shows a
progress bar and continues a broken download. Its three traps are handled here: it writes half files under the final
name, it prints a help text when imported without credentials, and it ends the program instead of raising.
"""

import contextlib
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path

from app.errors import UserError

CREDENTIALS_HELP = (
    "create a token at https://www.kaggle.com/settings and set KAGGLE_API_TOKEN to it "
    "(or KAGGLE_USERNAME and KAGGLE_KEY, or save kaggle.json in ~/.kaggle)"
)


def download_archive(dataset: str, folder: Path) -> Path:
    """The zip file of `dataset` ("owner/name") in `folder`; one that is already there is used as it is.

    Raises UserError that says what to do when the network, the credentials or the dataset are missing.
    """
    name = dataset.split("/")[1] + ".zip"
    final = folder / name
    if final.exists():
        print(f"using {final} of an earlier download", file=sys.stderr)
        return final
    waiting = folder / f".{name}.partial"
    waiting.mkdir(parents=True, exist_ok=True)
    fetch_with_kaggle(dataset, waiting)
    if not zipfile.is_zipfile(waiting / name):
        (waiting / name).unlink(missing_ok=True)
        raise UserError(f"what Kaggle sent for {dataset} is not a zip file; run the same command again")
    os.replace(waiting / name, final)
    shutil.rmtree(waiting)
    return final


def fetch_with_kaggle(dataset: str, folder: Path) -> None:
    """Let the kaggle package write (or finish) the zip in `folder`."""
    import requests  # comes with kaggle

    page = f"https://www.kaggle.com/datasets/{dataset}"
    by_hand = f"or download {page} in a browser and pass the zip with --archive"
    try:
        api = signed_in_api()
        with contextlib.redirect_stdout(sys.stderr):
            api.dataset_download_files(dataset, path=str(folder), quiet=False)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise UserError(f"Kaggle refused the download (HTTP {status}): {CREDENTIALS_HELP}, {by_hand}") from error
        raise UserError(f"Kaggle answered HTTP {status} for {dataset}: try again later, {by_hand}") from error
    except requests.RequestException as error:
        raise UserError(
            f"Kaggle cannot be reached ({type(error).__name__}): check the network and run the same command again "
            f"(a broken download goes on where it stopped), {by_hand}"
        ) from error


def signed_in_api():
    """A KaggleApi with the user's credentials, or without any."""
    with contextlib.redirect_stdout(io.StringIO()):  # the import itself tries to sign in and prints a help text
        from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        # SystemExit is kaggle's way of saying that there are no credentials; public datasets need none.
        with contextlib.suppress(SystemExit):
            api.authenticate()
    return api
