"""What stands in for a language model: a generator of words, which says so.

It has read the text below and knows which words may follow which two. That is how language models began,
and all that it has in common with today's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

TEXT = """
A stream of events is a response that does not end. The server writes an event when there is something to
say, and the client reads it when it comes. When the connection is lost, the client asks for the stream
again, and says which event was the last one that it has seen. The server looks into its log, and writes
what the client has missed. A log is a list of events in the order in which they happened. Each event has a
place in the log, and the place is the name of the event. When the client says the name of the last event,
the server knows all that the client lacks. Nothing is lost, and nothing comes twice. The answer that you
read is a list of events in a log. The server writes each word when it has found it, and does not wait for a
client. When you reload the page, the server writes the words that you have seen, and then the words that
come. When nobody reads, the words are in the log all the same. When the connection is slow, the words wait
in the log, and the server waits for nobody. A word is an event, and an answer is a channel. The client that
knows the name of the channel reads the answer from the beginning, or from the last word that it has seen.
When you stop the answer, the server writes that it has stopped, and the stream ends. A model would find
better words. The stream would be the same.
"""


def tokens(prompt: str, seed: object, length: int) -> Iterator[str]:
    """Yield some words in answer to a prompt, each with the blank before it; always the same for a seed."""
    yield from _pieces(
        "This is no language model, but a generator of words that has read one page about streams. "
    )
    shown = prompt if len(prompt) <= 200 else f"{prompt[:200]}…"
    yield from _pieces(f"You said: “{shown}” And it has this to say.\n\n")
    follows = _table()
    chance = random.Random(str(seed))
    pair = chance.choice([pair for pair in follows if pair[0].istitle()])
    yield pair[0].lstrip()  # of a paragraph
    yield pair[1]
    for number in range(2, length):
        word = chance.choice(follows.get(pair) or list(follows)[chance.randrange(len(follows))])
        pair = pair[1], word
        ended = word.endswith(".")
        yield "\n\n" + word.strip() if pair[0].endswith(".") and not number % 4 else word
        if ended and number > length - 25:
            return


def _table() -> dict[tuple[str, str], list[str]]:
    words = [f" {word}" for word in TEXT.split()]
    table: dict[tuple[str, str], list[str]] = {}
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        table.setdefault((first, second), []).append(third)
    return table


def _pieces(text: str) -> Iterator[str]:
    yield from re.findall(r"\s*\S+|\s+$", text)
