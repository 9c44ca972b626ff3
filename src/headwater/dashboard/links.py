"""Addresses of pages: all state is in the URL, and a link keeps what it does not change."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

_KEPT: Final = ("pipeline", "since", "until", "baseline", "baseline_since", "baseline_until", "outcome", "cluster", "where")


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """`params`: the query parameters of the page at hand. `standalone`: a mailed report has nowhere to go, every link is None."""

    params: tuple[tuple[str, str], ...] = ()
    standalone: bool = False

    def value(self, name: str) -> str | None:
        return next((value for key, value in self.params if key == name), None)

    def with_params(self, path: str, /, **changed: str | None) -> str | None:
        """`path` with the page's parameters; those in `changed` replaced, or dropped where None."""
        if self.standalone:
            return None
        kept = [(key, value) for key, value in self.params if key in _KEPT and key not in changed]
        kept += [(key, value) for key, value in changed.items() if value is not None]
        return path + (f"?{urlencode(kept)}" if kept else "")

    def overview(self, pipeline: str) -> str | None:
        return self.with_params("/", pipeline=pipeline)

    def pipeline(self, pipeline: str, *, suffix: str = "", stage: str | None = None) -> str | None:
        """The page of a pipeline, at one of its stages if named."""
        href = self.with_params(f"{self.path_of_pipeline(pipeline)}{suffix}", pipeline=None)
        return href if href is None or stage is None else f"{href}#stage-{quote(stage, safe='')}"

    def path_of_pipeline(self, pipeline: str) -> str:
        """The bare address of a pipeline's page, for the window controls on it."""
        return f"/pipelines/{quote(pipeline, safe='')}"

    def trace(self, trace_id: str, suffix: str = "") -> str | None:
        return None if self.standalone else f"/t/{quote(trace_id, safe='')}{suffix}"


def outside(url: str | None, *, span_id: str | None = None) -> str | None:
    """A link out of the dashboard: http or https only, else None; with `span_id` Jaeger's uiFind points at that span."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return url if span_id is None else parts._replace(query=urlencode({"uiFind": span_id})).geturl()
