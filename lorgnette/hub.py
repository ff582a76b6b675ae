"""Files from the model hub's cache, else downloaded into it, with one short question instead of a minute of retries."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from lorgnette.errors import ConfigError


def fetch(
    repository: str, patterns: Sequence[str], *, needed: Sequence[str] = (), name: str = "", tried: str = "", fix: str
) -> Path:
    """The folder with the files of `repository` that match `patterns`.

    Args:
        needed: patterns without a match for which a copy in the cache is not complete; all of `patterns` by default.
        name: what the user asked for, for the message.
        tried: what was looked for before the hub, for the message.
        fix: what the user can do.

    Raises:
        ConfigError: the hub does not know it, does not allow it, or cannot be reached.
    """

    def unknown(reason: str) -> ConfigError:
        return ConfigError(f"{tried}, and {reason}" if tried else reason, where=name or repository, fix=fix)

    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(patterns), local_files_only=True))
        if all(any(folder.glob(pattern)) for pattern in needed or patterns):
            return folder
    except HFValidationError:
        raise unknown("it is not a name that a hub model can have") from None
    except OSError:
        pass  # not in the cache
    try:
        HfApi().model_info(repository, timeout=5)
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except GatedRepoError:
        raise unknown("its licence must be accepted on the hub first, and HF_TOKEN set") from None
    except RepositoryNotFoundError:
        raise unknown("the hub does not know it, or it is private and HF_TOKEN is not set") from None
    except Exception as error:  # the hub library's HTTP client, and so its errors, changed between releases
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise unknown(f"the hub cannot be reached ({reason})") from None
