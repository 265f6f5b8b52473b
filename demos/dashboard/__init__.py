"""A live view of this machine: one stream, two channels, four serializers, any number of viewers.

Modules, each importing only from those above it::

    system.py     what psutil tells about the machine: blocking, knows nothing of the web
    render.py     the heat map of the processor's cores, as PNG
    logs.py       this program's log, published line by line
    collector.py  one collection for all viewers, running only while somebody watches
    app.py        the page, and the stream that feeds it
    __main__.py   the command line
"""
