"""What an event, a write and an idle stream cost, beside what they cost in Tornado by hand.

Run it with ``python -m benchmarks``; ``--help`` tells the rest. It takes some two minutes, ``--quick`` a
few seconds. Everything happens on 127.0.0.1, in processes that end with it. `.fanout` and `.growth` are run
only if they are named: they take longer, and need Linux and a C compiler.

===============  =========================================================================
`.table`         figures, aligned
`.shapes`        the payloads, by name
`.child`         a process of our own, on a core of its own
`.handlers`      what is compared: the same streams by `SSEHandler` and by hand
`.server`        a child that serves them
`.client`        a child that reads them
`.encoder`       nanoseconds per event, without a socket
`.parsing`       nanoseconds per event, without a socket, and what they are elsewhere
`.writing`       CPU time per event written to one stream
`.idle`          memory per stream that waits
`.fanout`        publish once, to many: other servers and the floor beside it
`.growth`        with subscribers, channels, and what a subscriber has missed
===============  =========================================================================

How to read the figures: machines are noisy and differ, so what is compared takes turns with what it is
compared to, and the ratio is taken within each round, before the median.
"""
