"""Settings, built once at the edge: flag, then HEADWATER_*, then headwater.toml or [tool.headwater], then the default."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from headwater.model.errors import UsageError

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def _file_table() -> dict[str, Any]:
    """[service] of headwater.toml (HEADWATER_CONFIG or the working directory), else [tool.headwater.service] of pyproject.toml, else nothing."""
    named = os.environ.get("HEADWATER_CONFIG")
    for path, keys in ((Path(named or "headwater.toml"), ("service",)), (Path("pyproject.toml"), ("tool", "headwater", "service"))):
        if not path.is_file():
            if named and path == Path(named):
                raise UsageError(f"HEADWATER_CONFIG names {named}, which is not a file")
            continue
        try:
            table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        for key in keys:
            table = table.get(key, {}) if isinstance(table, Mapping) else {}
        if table:
            return dict(table)
    return {}


class _FileSource(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return {key.replace("-", "_"): value for key, value in _file_table().items()}


class Settings(BaseSettings):
    """What the service and the command line can be told. Each also as HEADWATER_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="HEADWATER_", extra="ignore", frozen=True)

    store: Path = Field(default=Path(".headwater"), description="directory of the embedded store")
    url: str | None = Field(default=None, description="ask a running service instead of the store")
    host: str = Field(default="127.0.0.1", description="address the service binds to")
    http_port: int = Field(default=8417, ge=0, le=65535, description="dashboard and REST")
    otlp_http_port: int = Field(default=4318, ge=0, le=65535, description="OTLP over HTTP")
    otlp_grpc_port: int = Field(default=4317, ge=0, le=65535, description="OTLP over gRPC")
    allow_open_bind: bool = Field(default=False, description="allow a non-loopback host without authentication")
    allowed_hosts: str = Field(default="", description="further Host names the dashboard answers to, separated by commas")
    jaeger_url: str | None = Field(default=None, description="base address of Jaeger's UI, for deep links")
    flush_interval_s: float = Field(default=10.0, gt=0, description="how long spans stay in the log before a Parquet segment is written")
    fsync: Literal["always", "interval", "off"] = Field(default="always", description="when the log is forced to disk before an answer")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _FileSource(settings_cls)

    def checked_bind(self) -> str:
        """The host to bind to; UsageError for an open bind that nobody allowed: the service has no authentication yet."""
        if self.host not in LOOPBACK and not self.allow_open_bind:
            raise UsageError(
                f"host {self.host} is reachable from other machines and the service has no authentication; "
                "bind to 127.0.0.1, or set HEADWATER_ALLOW_OPEN_BIND=1 inside a closed network"
            )
        return self.host


def load_settings(**flags: object) -> Settings:
    """Settings with the flags that were given (None = not given). UsageError names the setting that is wrong."""
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise UsageError(f"{name} = {first.get('input')!r}: {first['msg']}; set --{name.replace('_', '-')} or HEADWATER_{name.upper()}") from error
