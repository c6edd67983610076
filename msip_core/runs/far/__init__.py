"""Runs on other computers.

    server's computer                                   another one (a "node")
    ───────────────────                                 ──────────────────────
    supervisor ── FarExecutor ── Carrier (thread, one a run) ──► Keeper ──► runs.worker
       │              │               │    Cluster (Ray, or made up)   its folder, or the shared one
       └── FarRooms ──┘               └── run folder: the truth

The worker is the same process as here, started and watched by a `Keeper` on its own computer, since
a process's number means something there alone. Without a shared folder the carrier sends what a run
needs (`parcels`: once, by content) and brings back, again and again, what the worker wrote: always
all of it as it was at one moment, so that the folder here is as if the worker had been killed at
that moment, and goes on from there wherever it is started next. What Ray adds is one class
(`ray_cluster`) and one process (`bridge`); nothing else knows it.
"""
