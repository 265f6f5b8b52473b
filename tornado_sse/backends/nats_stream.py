"""The stream that a log is kept in: made, looked at, asked, cut.

An epoch is what the server says about when the stream was made, and a number in its metadata that is raised
when events are found to have been lost. So a stream that is made anew has another epoch by itself, and all
who find out about a loss agree on the next one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from tornado_sse.backends.base import WINDOW
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_names import Message, Names, seconds_of
from tornado_sse.errors import BackendError

__all__ = ["Info", "Stream"]

#: How long the server remembers ids of messages, in nanoseconds. It counts from when it has stored one, which
#: is a little before anybody is told.
_REMEMBERED: Final = round((WINDOW + 10) * 1e9)

_RENEWALS: Final = "tornado-sse-renewals"

# What the server says, by its number, and what is said to the user.
_NOT_FOUND: Final = 10059
_IN_USE: Final = 10058
_WRONG_LAST: Final = 10071
_SAYINGS: Final = {
    10023: "it has no room for more",
    10028: "its JetStream has no room for more",
    10047: "it has no room for more",
    10077: "the stream has no room for more",
}


@dataclass(frozen=True)
class Info:
    """What a stream is like at some time."""

    config: dict[str, Any]
    #: The log's incarnation.
    epoch: str
    #: The number of its last message, though that may be gone.
    last: int
    #: Everything up to here may have been dropped by limits of the stream's own.
    floor: int
    #: The server's time, in seconds since 1970.
    time: float

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Info:
        """Return what the server's answer says."""
        config, state = answer["config"], answer["state"]
        renewals = (config.get("metadata") or {}).get(_RENEWALS, "0")
        epoch = sha256(f"{answer['created']} {renewals}".encode()).hexdigest()[:10]
        drops = config.get("max_age", 0) > 0 or (
            config.get("discard") == "old"
            and max(config.get("max_msgs", -1), config.get("max_bytes", -1)) > 0
        )
        floor = state["first_seq"] - 1 if drops else 0
        return cls(config, epoch, state["last_seq"], max(floor, 0), seconds_of(answer["ts"]))


class Stream:
    """A log's stream.

    :arg str name: what it is called in the server.
    :arg storage: "file" or "memory"; None is file, or what there is.
    :arg replicas: on how many servers; None is one, or what there is.
    """

    def __init__(self, name: str, names: Names, storage: str | None, replicas: int | None) -> None:
        self.name = name
        self._names = names
        self._wanted: dict[str, Any] = {"storage": storage, "num_replicas": replicas}

    async def open(self, link: Link) -> Info:
        """Return what it is like. It is made if there is none.

        :raises BackendError: if it can't be made, or is not one for a log.
        """
        answer = await self._api(link, "INFO")
        if _code(answer) == _NOT_FOUND:
            answer = await self._api(link, "CREATE", self._config())
            if _code(answer) == _IN_USE:  # somebody else was faster, or has another use for its subjects
                answer = await self._api(link, "INFO")
        info = Info.of(_checked(answer))
        self._check(info.config)
        return info

    async def look(self, link: Link) -> Info:
        """Return what it is like.

        :raises BackendError: if there is none any more.
        """
        return Info.of(_checked(await self._api(link, "INFO")))

    async def renew(self, link: Link, info: Info) -> Info:
        """Give it another epoch."""
        metadata = dict(info.config.get("metadata") or {})
        metadata[_RENEWALS] = str(int(metadata.get(_RENEWALS, "0")) + 1)
        return Info.of(_checked(await self._api(link, "UPDATE", {**info.config, "metadata": metadata})))

    async def fence(self, link: Link) -> None:
        """Return when all has been heard that the stream had acknowledged when this was called.

        What is published here names another stream, so that it is refused, in its turn, and nothing is
        written.
        """
        await link.ask(self._names.nothing, headers={"Nats-Expected-Stream": "none"})

    async def last(self, link: Link, subject: str) -> Message | None:
        """Return the last message of some subjects, as the stream's leader has it."""
        return await self._message(link, {"last_by_subj": subject})

    async def at(self, link: Link, sequence: int) -> Message | None:
        """Return the message of a number, as the stream's leader has it."""
        return await self._message(link, {"seq": sequence})

    async def replace(self, link: Link, subject: str, data: bytes, expected: int) -> bool:
        """Make this the one message of a subject, if the last one there still has this number; 0 is none.

        Returns whether it had.
        """
        headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(expected)}
        (message,) = await link.ask(subject, data, headers)
        answer = json.loads(message.data)
        if _code(answer) == _WRONG_LAST:
            return False
        _checked(answer)
        return True

    async def subjects(self, link: Link) -> AsyncIterator[str]:
        """Yield the subjects of which there are messages."""
        offset, total = 0, 1
        while offset < total:
            request = {"subjects_filter": self._names.all, "offset": offset}
            answer = _checked(await self._api(link, "INFO", request))
            subjects = answer["state"].get("subjects") or {}
            offset, total = offset + len(subjects), answer.get("total", 0) if subjects else 0
            for subject in subjects:
                yield subject

    async def purge(self, link: Link, subject: str, upto: int) -> None:
        """Drop the messages of some subjects up to one."""
        _checked(await self._api(link, "PURGE", {"filter": subject, "seq": upto + 1}))

    # How it is done

    async def _message(self, link: Link, request: dict[str, Any]) -> Message | None:
        answer = await self._api(link, "MSG.GET", request)
        if answer.get("error", {}).get("code") == 404:
            return None
        found = _checked(answer)["message"]
        lines = base64.b64decode(found.get("hdrs", "")).decode(errors="replace").split("\r\n")[1:]
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        headers["Nats-Time-Stamp"] = found["time"]
        return Message(found["seq"], found["subject"], base64.b64decode(found.get("data", "")), headers)

    async def _api(self, link: Link, verb: str, request: dict[str, Any] | bytes = b"") -> dict[str, Any]:
        (message,) = await link.ask(f"$JS.API.STREAM.{verb}.{self.name}", request)
        answer: dict[str, Any] = json.loads(message.data)
        return answer

    def _config(self) -> dict[str, Any]:
        return {
            **self._needed(),
            "name": self.name,
            "storage": self._wanted["storage"] or "file",
            "num_replicas": self._wanted["num_replicas"] or 1,
            # Where somebody sets a limit, what is too much is refused rather than dropped without a word.
            "discard": "new",
        }

    def _needed(self) -> dict[str, Any]:
        return {
            "subjects": [self._names.all],
            "retention": "limits",
            "max_msgs_per_subject": -1,
            "duplicate_window": _REMEMBERED,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_purge": False,
            "no_ack": False,
            "sealed": False,
            "republish": {"src": self._names.all, "dest": self._names.live},
        }

    def _check(self, config: dict[str, Any]) -> None:
        wanted = {name: value for name, value in self._wanted.items() if value is not None}
        problems = []
        for name, value in {**self._needed(), **wanted}.items():
            # What is false is left out.
            found = config.get(name, False if value is False else None)
            if found != value and not (name == "duplicate_window" and (found or 0) >= WINDOW * 1e9):
                problems.append(f"{name} is {json.dumps(found)} and not {json.dumps(value)}")
        if problems:
            raise BackendError("nats", f"the stream {self.name} is not one for this: {', '.join(problems)}")


def _code(answer: dict[str, Any]) -> int:
    code: int = answer.get("error", {}).get("err_code", 0)
    return code


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error is not None:
        said = error.get("description", error)
        saying = _SAYINGS.get(error.get("err_code"))
        raise BackendError("nats", f"{saying} ({said})" if saying else f"the server answers: {said}")
    return answer
