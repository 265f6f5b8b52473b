"""Who may publish to which channels, and who may follow them.

Rights are only ever granted. A `Grant` gives whoever shows its token the right to publish to some channels
and to subscribe to some; a grant without a token gives it to anybody. What a request may do is the sum of the
grants that apply to it, so there is no order to think of, and nothing that takes away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from tornado_sse.errors import SettingError

__all__ = ["Access", "Bearer", "Grant", "is_token"]

#: Tells what can be a Bearer token (RFC 6750, section 2.1): it goes into a header, and into a query.
is_token: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch

# The characters of a channel's name, of which none means anything in a pattern, and the asterisk.
_IS_PATTERN: Final = re.compile(r"[A-Za-z0-9._:@~+=,*-]{1,200}").fullmatch


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to publish to some channels, and to subscribe to some.

    :arg str token: who has it: whoever shows this token. None is anybody.
    :arg publish: the channels to publish to, by name or by pattern: ``*`` stands for any characters, or none.
    :arg subscribe: the channels to subscribe to.

    :raises SettingError: if a token can't be a Bearer token, or a pattern matches no channel.
    """

    #: Not in the repr, which may be logged.
    token: str | None = field(default=None, repr=False)
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is not None and not is_token(self.token):
            raise SettingError("token", "must consist of letters and digits of ASCII and - . _ ~ + / =")
        for name in ("publish", "subscribe"):
            for pattern in getattr(self, name):
                if not _IS_PATTERN(pattern):
                    raise SettingError(
                        name, f"must name channels, with * for any characters, not {pattern!r}"
                    )


class Access:
    """The grants of a server.

    As long as no grant says who may subscribe, anybody may, to everything. Publishing is always granted or
    refused.
    """

    def __init__(self, grants: Iterable[Grant]) -> None:
        grants = tuple(grants)
        if not any(grant.subscribe for grant in grants):
            grants += (Grant(None, (), ("*",)),)
        self._grants = [
            (_digest(grant.token), _matcher(grant.publish), _matcher(grant.subscribe)) for grant in grants
        ]

    def bearer(self, token: str | None) -> Bearer:
        """Return what may be done by who shows a token, or by anybody.

        How long it takes does not depend on how much of the token is right, nor on whose it is.
        """
        digest = _digest(token)
        # Compared as digests, which are of one length; and with all of them, whichever is found.
        found = [
            (theirs is not None, publish, subscribe)
            for theirs, publish, subscribe in self._grants
            if theirs is None or (digest is not None and compare_digest(theirs, digest))
        ]
        return Bearer(
            known=any(named for named, _, _ in found),
            publish=tuple(publish for _, publish, _ in found if publish),
            subscribe=tuple(subscribe for _, _, subscribe in found if subscribe),
        )


@dataclass(frozen=True, slots=True)
class Bearer:
    """What somebody may do."""

    #: Whether a grant has the token that was shown.
    known: bool
    publish: tuple[re.Pattern[str], ...]
    subscribe: tuple[re.Pattern[str], ...]

    def may_publish(self, channel: str) -> bool:
        """Return whether events may be published to a channel."""
        return any(pattern.fullmatch(channel) for pattern in self.publish)

    def may_subscribe(self, channel: str) -> bool:
        """Return whether a channel may be followed."""
        return any(pattern.fullmatch(channel) for pattern in self.subscribe)


def _digest(token: str | None) -> bytes | None:
    return None if token is None else sha256(token.encode()).digest()


def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(_expression, patterns)), re.DOTALL) if patterns else None


def _expression(pattern: str) -> str:
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    *between, last = others
    # Atomic groups: the first place where a part is found is as good as any later one, and to try those too
    # would take a time that grows with a power of the name's length.
    return first + "".join(f"(?>.*?{part})" for part in between if part) + ".*" + last
