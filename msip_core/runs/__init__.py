"""The life of a run: state, events, store, supervisor, worker, compute.

`state` is the whole specification: one enum, one transition table, one compare-and-set write;
buttons are derived from the table. The supervisor is a background thread in the server (one per
workspace, held by a lock file). It takes queued runs, on a processor as many as `MSIP_CPU_RUNS`
allows, on each GPU as many as its memory (`rooms`, `placing` choose, `gpu_memory` estimates,
`tight_memory` starts again what did not fit), and starts a worker process for each, so a crash or a
cancel never takes the app down and gives the GPU back. Server gone, worker alive: the next server
adopts it. Worker gone: the run is `interrupted`, with the reason, and resumes from its last
finished stage, inside a fine-tune from the last finished epoch. Server and worker gone: whoever
looks next, page or verb, settles it (`settling`), holding the supervisor's lock meanwhile. The
supervisor starts with the process: Streamlit imports app.py once as the server and runs it as a
script for each look at a page.

A run is `completed` only after its saved model was loaded again in a fresh process (`verify`) and
gave the same outputs. That process is started when the work is about to end, and loads its
libraries meanwhile.

While runs wait or a server is open, processes that have loaded torch already wait, one for each run
that can start at the same moment and that memory has room for (`spare`, `spare_process`): the next
run's order makes one that run's worker, and what it needs of its own is set then (threads through
the libraries, its GPU before CUDA is begun; where a library has begun CUDA, it starts anew in its
place). It serves one run, as any worker. Models are timed on the processor by a process that no run
waits for (`aside`, `timing`; `speeds` keeps what was found).
Processes with torch leave through `leaving`: taking modules apart costs Python seconds.
"""
