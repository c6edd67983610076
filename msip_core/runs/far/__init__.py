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
(`ray_cluster`) and one process (`bridge`: Ray ends one whose cluster goes away); nothing else knows
it.

Events keep the number that they have there (`there`), so none is told twice, whoever takes them in
and however often; changes of state pass the same table as ever. place.json (`runs.lease`) names the
keeper: the next server goes on with it, and lookers leave a run alone while its cluster answers. A
keeper that ends takes its worker along (the worker holds the other end of its stdin).
"""
