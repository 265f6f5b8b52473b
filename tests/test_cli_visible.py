from __future__ import annotations

import json
import sys

from tornado_sse.cli.visible import visible, visible_bytes, visible_json

DANGEROUS = "\x1b[2J\x07\x08\r\x7f\x9b\u200e\u202e\u2028\u2066\ud800\U000e0001"


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    assert visible("\x1b[31mred\x9b") == r"\x1b[31mred\x9b"
    assert visible(DANGEROUS).isprintable()
    assert visible("a\nb\x85", keep="\n") == "a\nb\\x85"
    for number in range(sys.maxunicode + 1):
        assert visible(chr(number)).isprintable()


def test_what_can_be_seen_is_left_as_it_is() -> None:
    for text in ("", "plain", "naïve 日本 ✓ 🙂"):
        assert visible(text) == visible_json(text) == text


def test_json_means_the_same_as_before() -> None:
    text = json.dumps(DANGEROUS.replace("\ud800", ""), ensure_ascii=False)
    assert visible_json(text).isprintable()
    assert json.loads(visible_json(text)) == json.loads(text)


def test_bytes_keep_their_lines() -> None:
    assert visible_bytes(b"data: \x1b\xff\r\n\n") == "data: \\x1b\\xff\\r\n\n"
