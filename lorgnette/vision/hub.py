"""Files from the model hub's cache, else downloaded into it, with one short question instead of a minute of retries."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from lorgnette.errors import ConfigError


def fetch(repository: str, patterns: list[str], *, name: str) -> Path:
    """The folder with the files of `repository` that match `patterns`.

    Raises:
        ConfigError: the hub does not know it, does not allow it, or cannot be reached; the message names `name`.
    """
    try:
        folder = Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=True))
        if all(any(folder.glob(pattern)) for pattern in patterns):
            return folder
    except HFValidationError:
        raise _unknown(name, "it is neither a folder, nor a timm model, nor a name that a hub model can have") from None
    except (LocalEntryNotFoundError, OSError):
        pass
    try:
        HfApi().model_info(repository, timeout=5)
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except GatedRepoError:
        raise _unknown(name, "its licence must be accepted on the hub first, and HF_TOKEN set") from None
    except RepositoryNotFoundError:
        raise _unknown(name, "the hub does not know it, or it is private and HF_TOKEN is not set") from None
    except Exception as error:  # the hub library's HTTP client, and so its errors, changed between releases
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise _unknown(name, f"its files are not in the cache, and the hub cannot be reached ({reason})") from None


def _unknown(name: str, reason: str) -> ConfigError:
    return ConfigError(
        reason,
        where=name,
        fix="Give a model's folder, take random weights (pretrained=False), or 'efficientnet_lite0', a package.",
    )
