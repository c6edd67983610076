"""Settings of the place: workspace folder, device, limits. Read from MSIP_* variables."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """What the engineer of the box sets once (environment, or a `.env` file).

    Attributes:
        workspace: folder that holds datasets, models, runs and the index.
        device: "auto" (the least busy GPU, else the CPU), "cpu", "cuda:0", "mps".
        cpu_runs: runs at a time on the processor, which share its cores: small networks use many
            cores badly, so that two runs on one core each end sooner than one after the other.
            Milliseconds are then measured beside other work; leave 1 where they are the goal.
        gpu_runs: runs at a time on each GPU; None takes as many as their estimated memory allows.
            Milliseconds of a GPU are then measured beside other work too: set 1 where they are
            the goal.
        warm: keep one process ready that has loaded torch, while runs wait or an app is open
            (350 MB; none where less than 4 GB are free): the next run then starts at once.
        upload_limit_mb: largest upload in the browser; it is held in the server's memory.
        import_roots: folders of the server's disk that the Data page may read from.
        login_required: ask for Streamlit's own OIDC login on every page.
        hosts: further names under which browsers reach the server (of a proxy, or a name that the
            computer does not know itself); under any name but these and its own it answers 403.
        min_free_disk_gb: a run does not start with less room than this.
        executor: "local" runs everything on this computer, "ray" on those of a Ray cluster.
        ray_address: of the cluster, "host:port"; "auto" is the one that this computer belongs to,
            as it must (`ray start`).
        ray_workspace: where the other computers see this very workspace (a shared disk). None
            where they do not: then each is sent what a run needs, and what it makes comes back.
        node_folder: on another computer: what it keeps of data and of runs while they last.
        node_cache_gb: on another computer: most that datasets and models may take there.
    """

    model_config = SettingsConfigDict(env_prefix="MSIP_", env_file=".env", extra="ignore")

    workspace: Path = Path("workspace")
    device: str = "auto"
    cpu_runs: int = Field(default=1, ge=1)
    gpu_runs: int | None = Field(default=None, ge=1)
    warm: bool = True
    upload_limit_mb: int = Field(default=1000, ge=1)
    import_roots: tuple[Path, ...] = ()
    login_required: bool = False
    hosts: Annotated[tuple[str, ...], NoDecode] = ()
    min_free_disk_gb: float = Field(default=1.0, ge=0)
    executor: Literal["local", "ray"] = "local"
    ray_address: str = "auto"
    ray_workspace: Path | None = None
    node_folder: Path = Path("~/.cache/msip-lab")
    node_cache_gb: float = Field(default=50.0, gt=0)

    @field_validator("hosts", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        """Names in one line, with commas or spaces between them."""
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
