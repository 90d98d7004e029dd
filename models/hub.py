"""Put a model folder on the Hugging Face Hub, complete and without a pickle.

check_push("me/shop-shirts")                                   # before any work: name, token, network
print(push_folder(Path("runs/mine"), "me/shop-shirts"))        # https://huggingface.co/me/shop-shirts
"""

from pathlib import Path

try:  # huggingface_hub's HTTP client
    import httpx2
except ModuleNotFoundError:  # huggingface_hub 1, on machines that come with their own packages
    import httpx as httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from app.errors import UserError, one_line

# All that a model folder publishes. The Trainer's checkpoints, training_args.bin among them, are pickles.
PUBLISHED = ("*.json", "*.safetensors", "*.onnx", "unknown_centres.npy", "attributes.npy", "README.md")
LEFT_OUT = ("all_results.json", "trainer_state.json", "run.json")  # notes of the training to itself
NEEDED = ("config.json", "preprocessor_config.json", "model.safetensors", "README.md")


class HubError(UserError):
    """Why nothing was pushed, in one line."""


def check_push(repository: str | None) -> None:
    """Raises HubError for what can be known to fail before any work. repository: None for USER/FOLDER of the token."""
    try:
        validate_repo_id(repository or "folder")
    except HFValidationError as error:
        raise HubError(f"{repository!r} is not a name on the Hub; give USER/NAME: {one_line(error)}") from None
    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set, so the Hub cannot be reached: unset it, or leave out the push")
    if not get_token():
        raise HubError("no Hugging Face token: run `hf auth login`, or set HF_TOKEN to one that may write")


def published_files(folder: Path) -> list[Path]:
    """What goes up. Raises HubError if the folder is not complete."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise HubError(f"{folder} is not complete: {', '.join(missing)} missing; train.py writes all of them")
    found = {path for pattern in PUBLISHED for path in folder.glob(pattern) if path.name not in LEFT_OUT}
    return sorted(found)


def push_folder(folder: Path, repository: str | None = None, private: bool | None = None) -> str:
    """Create the repository if needed, upload the folder's published files, and return the address.

    repository: USER/NAME; a bare name, or None for the folder's own, belongs to the user of the token. Raises HubError.
    """
    check_push(repository)
    names = [path.name for path in published_files(folder)]
    try:
        api = HfApi()
        address = api.create_repo(repository or folder.resolve().name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=address.repo_id,
            folder_path=folder,
            allow_patterns=[name.replace("[", "[[]") for name in names],
            delete_patterns=["*.bin", "*.pt", "*.pth", "*.pkl"],  # what transformers' own push left there before
            commit_message="Model with card, processor and ONNX graphs",
        )
    except OfflineModeIsEnabled:
        raise HubError("HF_HUB_OFFLINE is set, so the Hub cannot be reached: unset it") from None
    except HfHubHTTPError as error:
        raise HubError(_rejection(error)) from None
    except (httpx2.HTTPError, OSError) as error:
        raise HubError(f"{constants.ENDPOINT} cannot be reached: {one_line(error)}") from None
    except ValueError as error:  # the Hub's own check of the card
        raise HubError(f"the Hub rejects README.md: {one_line(error)}") from None
    return str(address)


def _rejection(error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else None
    if status == 401:
        return "the Hub does not know this token: run `hf auth login` again, or renew HF_TOKEN"
    if status == 403:
        return "this token may not write there: use one with write access"
    return f"the Hub answered {status}: {error.server_message or one_line(error)}"
