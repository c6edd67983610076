"""Which executor the settings ask for."""

from __future__ import annotations

from importlib.util import find_spec

from msip_core.errors import ConfigError
from msip_core.runs.executors import Executor, LocalExecutor
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

RAY = "ray>=2.50,<3"  # as in requirements-ray.txt


def chosen_executor(workspace: Workspace) -> Executor:
    """The executor for the runs of a workspace. Connects to nothing yet.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    settings = get_settings()
    if settings.executor == "local":
        return LocalExecutor()
    if find_spec("ray") is None:
        raise ConfigError(
            "MSIP_EXECUTOR=ray needs Ray, which is not installed: run 'python -m pip install "
            '"{ray}"\', or leave MSIP_EXECUTOR out to run on this computer alone.',
            ray=RAY,
        )
    from msip_core.runs.far.executor import FarExecutor
    from msip_core.runs.far.ray_cluster import RayCluster

    cluster = RayCluster(settings.ray_address, workspace, settings.ray_workspace)
    return FarExecutor(cluster, workspace, shared=settings.ray_workspace)
