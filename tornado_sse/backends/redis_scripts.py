"""A log in Redis or Valkey: the keys it is made of, and the scripts that work on them.

Every change is one script, so it happens as a whole or not at all, and what scripts publish is heard in the
order in which they ran, which is the order of positions. The scripts are the files in ``lua/``; the first
lines of each say what it is given, besides the log's root and the server's ``run_id``, and what it returns.

All names begin with the log's root, ``{prefix}``. The braces put them into one slot of a cluster, which is
why scripts may make names from it. Channels' names have no slash, so no two of these are the same:

=====================  ======================================================================================
``root``               a hash: ``epoch``; ``position``, the last one used; ``time`` of the last event, in
                       microseconds; ``floor``, that of channels which have been forgotten; ``born``, the
                       first epoch; ``run``, the server process in which positions go on; ``swept``, when
``root/i/channel``     a hash: ``born``; ``floor``; ``last``, the newest event's position; ``bytes`` of the
                       events without a key; ``age`` that events may reach, in microseconds
``root/e/channel``     a stream: the events without a key, by ids ``position-0``
``root/k/channel``     a sorted set: the keys, by the positions of their latest events
``root/v/channel``     a hash: the latest event of every key
``root/due``           a sorted set: the channels with events that age, by when to look at them
``root/lost``          a sorted set: the positions at which a server began anew; see ``begin.lua``
``root/w/nonce``       a hash, for an hour: the ``number`` of a writer's last batch, and the ``answer`` to it
``root/m/channel/id``  for two minutes: the position of the event with a message id
=====================  ======================================================================================

An event is stored as its time, in microseconds, a space, and then either ``-``, a space and the frame; or
the key's length in bytes, a space, the key, and the frame. Of Lua's numbers, which are doubles, whole ones
are exact up to 2**53: microseconds and positions stay below that.

A channel that was ``born`` with another log is a remnant, of one whose root somebody has deleted: it counts
as nothing, and its next event clears it away.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from tornado_sse.log import OVERHEAD

__all__ = ["SCRIPTS", "SKIPPED", "Script"]

#: How many positions are left out when another server process takes over.
SKIPPED: Final = 2**32

_CONSTANTS: Final = {
    "SKIPPED": SKIPPED,
    # What retention counts of an event, besides its frame; and what is stored of one, besides its frame.
    "OVERHEAD": OVERHEAD,
    "BESIDE": len("1700000000000000 - "),
}

_FOLDER: Final = files("tornado_sse").joinpath("backends", "lua")


class Script:
    """A script, and the name that a server knows it by.

    :arg str name: of its file.
    """

    def __init__(self, name: str) -> None:
        # The first line is for the server: a script with one refuses for lack of memory before it begins, or
        # not at all, where one without would be stopped in the middle.
        flags, body = _read(name).split("\n", 1)
        parts = [flags, f"local {', '.join(_CONSTANTS)} = {', '.join(map(str, _CONSTANTS.values()))}"]
        parts.append(_read("common"))
        if "no-writes" in flags:
            parts.append(_read("reading"))
        self.source = "\n".join([*parts, body])
        # The protocol wants this hash; nobody relies on it.
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def _read(name: str) -> str:
    return _FOLDER.joinpath(f"{name}.lua").read_text("utf-8")


#: By name.
SCRIPTS: Final = {
    name: Script(name) for name in ("begin", "renew", "mark", "append", "sweep", "page", "tail", "behind")
}
