"""Lists a Hugging Face repository at a revision, with each file's size and hash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import quote

from huggingface_hub import HfApi, ModelInfo, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Its HTTP library changed twice (requests, httpx, httpx2); this is the one it has.
from huggingface_hub.errors import HTTPError as HubTransportError  # type: ignore[attr-defined]

from enginix.catalog.load import is_commit
from enginix.checkpoint.load import SOURCE_PATTERNS
from enginix.checkpoint.rate_limit import Limited, read_limit
from enginix.checkpoint.transfer import MAX_FAILURES, RemoteFile, Retrying
from enginix.errors import DownloadError, HubUnreachable

# Otherwise it reports the calling program to the hub once a day.
constants.HF_HUB_DISABLE_TELEMETRY = True

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_INCLUDE = (*SOURCE_PATTERNS, "model*.safetensors")


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub's address and the account's token."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The wanted files of a repository at one revision."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


def list_files(
    hub: Hub,
    repo: str,
    revision: str,
    include: Sequence[str] = (),
    report: Callable[[Retrying], None] = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> Listing:
    """List `repo` at `revision` (a branch, a tag or a commit)."""
    info = _ask(hub, repo, revision, report, pause)
    if info.sha is None or not is_commit(info.sha):
        raise DownloadError(
            f"{hub.endpoint} resolves {revision} of {repo} to {info.sha!r}, expected a commit of "
            "40 hex digits; check HF_ENDPOINT"
        )
    patterns = tuple(include) or DEFAULT_INCLUDE
    files = []
    for sibling in info.siblings or []:
        name = sibling.rfilename
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if sibling.size is None or not _is_plain(name):
            raise DownloadError(f"{repo} lists {name!r}, which is not a file that can be fetched")
        url = f"{hub.endpoint.rstrip('/')}/{repo}/resolve/{info.sha}/{quote(name)}"
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        files.append(RemoteFile(name, sibling.size, url, sha256, sibling.blob_id))
    if not files:
        raise DownloadError(
            f"{repo} holds none of {', '.join(patterns[-3:])} at {revision}; name its files with "
            f"--include, they are listed at {hub.endpoint}/{repo}/tree/{info.sha}"
        )
    return Listing(repo, info.sha, tuple(sorted(files, key=lambda file: -file.size)))


def _ask(
    hub: Hub,
    repo: str,
    revision: str,
    report: Callable[[Retrying], None],
    pause: Callable[[float], None],
) -> ModelInfo:
    """Wait while the hub's rate limit is used up; give up as a file's transfer does."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token or False)
    for attempt in range(MAX_FAILURES + 1):
        try:
            return api.model_info(repo, revision=revision, files_metadata=True, timeout=30)
        except (HubTransportError, OSError, ValueError) as error:
            limit = _limit_of(error)
            if limit is None or attempt == MAX_FAILURES:
                raise _explained(error, hub, repo, revision) from error
        report(Retrying(f"the listing of {repo}", str(limit), limit.pause, limited=True))
        pause(limit.pause)
    raise AssertionError("the last attempt returns or raises")


def _limit_of(error: Exception) -> Limited | None:
    if not isinstance(error, HfHubHTTPError) or error.response.status_code != 429:
        return None
    return read_limit(error.response.headers)


def _is_plain(name: str) -> bool:
    """Whether a file name from the hub stays inside the directory it is put into."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _explained(error: Exception, hub: Hub, repo: str, revision: str) -> DownloadError:
    page = f"{hub.endpoint.rstrip('/')}/{repo}"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    match error:
        case GatedRepoError():
            return DownloadError(
                f"{repo} is gated: accept its terms at {page}, then pass a token of that account "
                "in HF_TOKEN"
            )
        case RevisionNotFoundError():
            return DownloadError(
                f"{repo} has no revision {revision!r}; its branches and tags are at {page}/refs"
            )
        case RepositoryNotFoundError():
            seen = "this HF_TOKEN has no access" if hub.token else "it is private"
            return DownloadError(
                f"there is no model repository {repo} at {hub.endpoint}, or {seen}; check the "
                "name, and pass a token in HF_TOKEN for a private one"
            )
        case HfHubHTTPError() if status in (401, 403):
            return DownloadError(
                f"{hub.endpoint} refused the token in HF_TOKEN ({status}); make a new one at "
                f"{hub.endpoint}/settings/tokens, or unset it"
            )
        case HfHubHTTPError():
            return DownloadError(f"{hub.endpoint} answered {status} about {repo}; try again later")
        case HFValidationError():
            return DownloadError(
                f"{repo!r} is not a repository name; expected one such as nvidia/Qwen3-32B-NVFP4"
            )
        case _:
            return HubUnreachable(
                f"{hub.endpoint} cannot be reached or does not speak the hub's API "
                f"({error}); check the network and HF_ENDPOINT"
            )
