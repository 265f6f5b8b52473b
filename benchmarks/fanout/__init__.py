"""What it costs to publish once to many: servers of Server-Sent Events, each in turn, under one load.

Run it with ``python -m benchmarks fanout`` on Linux. It needs a C compiler, takes a quarter of an hour
(``--quick`` a minute), and compares whoever is there. These are not part of the project, and go wherever the
command line says::

    python -m venv peers && peers/bin/pip install aiohttp-sse sse-starlette uvicorn uvloop httptools
    npm install --prefix peers better-sse; apt-get install libnginx-mod-nchan
    python -m benchmarks fanout --peers-python peers/bin/python --node-modules peers/node_modules

===============  =========================================================================
`.server`        what servers have in common: commands, and the events they publish
`.servers`       the servers that are compared, each a program
``floor.c``      the floor: a server that does nothing but send()
``stream.h``     a response that is an event stream, read as its bytes come
``client.c``     the load: all subscribers, in one program
`.native`        those in C, compiled
`.program`       a process at the other end of two pipes, on a core of its own
`.subscribers`   the load, from here
`.roster`        who is compared, and what each needs
`.trial`         one server and its subscribers, measured once
`.restart`       a server that is killed and started again
`.stall`         subscribers that never read, and what the others notice of them
`.comparison`    all servers in turns
`.report`        tables and JSON
`.plot`          a picture
===============  =========================================================================

A server runs on one core and all subscribers on the other, on 127.0.0.x. A subscriber must get every event,
once and in order, or the benchmark fails.
"""
