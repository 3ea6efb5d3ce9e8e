"""Hostile messages: a corpus of payloads, and a seeded generator that mutates and mixes them.

`corpus/good.txt` has a channel and a payload in each line, `bad.txt` a payload as a Python literal of bytes,
`joined.txt` a payload in each line and an empty line between batches: payloads that together could be taken
for JSON which none of them is.
"""

import ast
import os
import random
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from schemas.topics import CHANNELS, uplink

CORPUS: Final = Path(__file__).with_name("corpus")
SEED_VARIABLE: Final = "CAREBELL_FUZZ_SEED"
LONGEST_TOPIC: Final = 65_535
"""Bytes: MQTT 5 section 1.5.4."""

GOOD: Final = [
    (channel, payload.encode())
    for channel, payload in (
        line.split(" ", 1) for line in (CORPUS / "good.txt").read_text(encoding="utf-8").splitlines()
    )
]
BAD: Final = [
    bytes(ast.literal_eval(line)) for line in (CORPUS / "bad.txt").read_text(encoding="utf-8").splitlines()
]
JOINED: Final = [
    list(lines)
    for is_there, lines in groupby((CORPUS / "joined.txt").read_bytes().split(b"\n"), key=bool)
    if is_there
]

_NUMBERS: Final = (
    *(b"0", b"-0", b"-1", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity", b"1e5", b"1.5"),
    *(b"%d" % (2**power + step) for power in (31, 53, 63, 64, 1000) for step in (-1, 0, 1)),
    *(b"%d" % -(2**power) for power in (31, 53, 63, 64)),
    *(
        b"9" * 4301,
        b"0." + b"3" * 400,
        b"true",
        b"null",
        b'"80"',
        b'"1e3"',
        b'""',
        b"[]",
        b"{}",
        b"300",
        b"255",
    ),
)
_PIECES: Final = (
    *(bytes([byte]) for byte in b'{}[],:"\\\0 \n/*-.0eE'),
    *(b"{}", b"[]", b"},{", b"],[", b'","', b'":"', b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"\\uZZZZ"),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xc0\x80",
        b"\xe2\x80\xae",
        b"\x7f",
    ),
    *(b'"hr":"x",', b'"readings":[5,{}],', b'"ts":0,', b'"seq":-1,', b'"hr":80,"hr":[],', b",null", b",{}"),
)
_ENCODINGS: Final = ("gbk", "gb18030", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "utf-7")
_NUMBER: Final = re.compile(rb"-?[0-9.]+")
_TEXT: Final = re.compile(rb'"[^"]*"')
_REGIONS: Final = ("430602", "430602001", "430602001002", "340100")
_DEVICES: Final = ("BELL-1", *(f"BELL-{n}" for n in range(2, 9)))
_LEVELS: Final = (
    *(
        "",
        " ",
        "+",
        "#",
        "$SYS",
        "carebell",
        "v1",
        "V1",
        "430602",
        "4306021",
        "43060２",
        "abc",
        "BELL-1",
        "BELL 1",
    ),
    *(
        "平安钟",
        "😀",
        "a\u0000b",
        "\u0001\u007f",
        "\u202esos",
        "\ufeff",
        "..",
        "%00",
        "'; --",
        "x" * 64,
        "x" * 65,
        "-",
    ),
    *CHANNELS,
    *(name.upper() for name in CHANNELS),
    *(
        "Sos",
        " sos",
        "fall ",
        "sos\n",
        "\tfall",
        "SoS ",
        "ſos",
        "ＳＯＳ",
        "fall\u0000",
        "sos.json",
        "telemetry",
    ),
)


class Message(NamedTuple):
    """What a client publishes."""

    topic: str
    payload: bytes
    retained: bool = False


def seed() -> int:
    """Return the seed of this run, and print it: pytest shows it where a test fails."""
    found = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().getrandbits(32))
    print(f"replay with {SEED_VARIABLE}={found}")  # noqa: T201 - whoever sees a failure needs it
    return found


class Fuzz:
    """Make messages; the same seed makes the same ones in the same order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._mutations: tuple[Callable[[bytes], bytes], ...] = (
            lambda payload: payload[: self._place(payload)],
            lambda payload: payload[self._place(payload) :],
            self._flip,
            self._insert,
            self._insert,
            self._repeat,
            lambda payload: self._swap(_NUMBER, payload, self.random.choice(_NUMBERS)),
            lambda payload: self._swap(_TEXT, payload, self.random.choice(_TEXT.findall(payload) or [b""])),
            lambda payload: payload + self.random.choice((b"", b",", b" ", b"\n")) + self.payload(),
            lambda payload: self._swap(_NUMBER, payload, self.payload()),
            self._recode,
            lambda payload: b"[" * (deep := self.random.randrange(300)) + payload + b"]" * deep,
        )

    def payload(self, channel: str = "") -> bytes:
        """Return a payload of a channel, or of any, as it should be or as it stands in the corpus."""
        if self.random.random() < 0.2:
            return self.random.choice(BAD)
        found, payload = self.random.choice(GOOD)
        return payload if found == channel or not channel else self.payload(channel)

    def mutated(self, channel: str) -> bytes:
        """Return a payload with up to four faults."""
        payload = self.payload(channel)
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            payload = self.random.choice(self._mutations)(payload)
        return payload

    def topic(self) -> str:
        """Return a topic, one in four of them hostile."""
        levels = ["carebell", "v1", self._region(), self._device(), self.random.choice(list(CHANNELS))]
        if self.random.random() < 0.25:
            levels[self.random.randrange(5)] = self.random.choice(_LEVELS)
            change = self.random.random()
            if change < 0.1:
                del levels[self.random.randrange(5)]
            elif change < 0.2:
                levels.insert(self.random.randrange(6), self.random.choice(_LEVELS))
            elif change < 0.22:
                levels[self.random.randrange(5)] = self.random.choice("x平") * self.random.randrange(
                    LONGEST_TOPIC
                )
        topic = "/".join(levels)
        return topic.encode()[:LONGEST_TOPIC].decode(errors="ignore") or "/"

    def message(self) -> Message:
        """Return any message."""
        topic = self.topic()
        return Message(topic, self.mutated(topic.rsplit("/", 1)[-1]), self.random.random() < 0.05)

    def company(self) -> list[Message]:
        """Return a few messages of one channel that could be taken for each other's parts."""
        channel = self.random.choice(list(CHANNELS))
        payloads = list(self.random.choice((self._torn, self._torn, lambda: self.random.choice(JOINED)))())
        for _ in range(self.random.randrange(4)):
            payloads.insert(self.random.randrange(len(payloads) + 1), self._flat())
        if self.random.random() < 0.3:
            self.random.shuffle(payloads)
        topics = (uplink(self._region(), self._device(), channel) for _ in payloads)
        return [Message(topic, payload) for topic, payload in zip(topics, payloads, strict=True)]

    def _torn(self) -> list[bytes]:
        """Return payloads of which some say two things and others half of one: often as many as they are."""
        parts = [self._halves() for _ in range(self.random.randint(1, 2))]
        parts += [
            [self._flat() + self.random.choice((b",", b",", b" ,", b",\n")) + self._flat()]
            for _ in range(self.random.choice((0, len(parts), len(parts))))
        ]
        self.random.shuffle(parts)
        return [payload for part in parts for payload in part]

    def _halves(self) -> list[bytes]:
        """Return the parts of an object, cut at a comma within it, each of which may look like an object."""
        rest = self._flat()[1:]
        whole = b'{"note":"a,b","x":{"y":1,"z":[1,2]},' + rest
        place = self.random.choice([match.start() for match in re.finditer(b",", whole)])
        return self.random.choice(
            (
                [whole[:place], whole[place + 1 :]],
                [b'{"x":[{}', b"{}]," + rest],
                [b'{"x":{"y":[' + self._flat(), self._flat() + b"]}}"],
                [b'{"readings":[' + self._flat(), self._flat() + b"]}"],
                # within a text
                [b'{"x":"}', b'{",' + rest],
                [b'{"x":"', b'{",' + rest],
                [b'{"x":"}', b'",' + rest],
                [b'{"x":"', b'",' + rest],
                [b'{"x}', b'{":1,' + rest],
                [b'{"x":"\\"}', b'{",' + rest],
                [b'{"x":"{', b'}",' + rest],
            )
        )

    def _flat(self) -> bytes:
        """Return a small object that every channel reads, and that is like no other."""
        seq, hr = self.random.randrange(10**6), self.random.randint(40, 180)
        return b'{"seq":%d,"hr":%d,"kind":"worn","status":"online"}' % (seq, hr)

    def _region(self) -> str:
        return self.random.choice(_REGIONS)

    def _device(self) -> str:
        return self.random.choice(_DEVICES)

    def _place(self, payload: bytes) -> int:
        return self.random.randint(0, len(payload))

    def _flip(self, payload: bytes) -> bytes:
        place = self._place(payload)
        return payload[:place] + self.random.randbytes(1) + payload[place + 1 :]

    def _insert(self, payload: bytes) -> bytes:
        place = self._place(payload)
        return payload[:place] + self.random.choice(_PIECES) + payload[place:]

    def _repeat(self, payload: bytes) -> bytes:
        start, end = sorted((self._place(payload), self._place(payload)))
        return payload[:end] + payload[start:end] * self.random.choice((1, 1, 2, 50)) + payload[end:]

    def _swap(self, pattern: re.Pattern[bytes], payload: bytes, new: bytes) -> bytes:
        found = list(pattern.finditer(payload))
        if not found:
            return payload + new
        place = self.random.choice(found)
        return payload[: place.start()] + new + payload[place.end() :]

    def _recode(self, payload: bytes) -> bytes:
        text = payload.decode(errors="replace")
        return text.encode(self.random.choice(_ENCODINGS), errors="replace")


def huge(size: int) -> dict[str, bytes]:
    """Return payloads of about so many bytes, by what is huge in them."""
    deep = size // 2
    return {
        "text": b'{"room":"' + b"x" * size + b'"}',
        "key": b'{"' + b"x" * size + b'":1,"hr":80}',
        "number": b'{"ts":' + b"9" * size + b"}",
        "fraction": b'{"hr":0.' + b"3" * size + b"}",
        "blanks": b" " * size + b'{"hr":80}',
        "escapes": b'{"room":"' + b"\\u0000" * (size // 6) + b'"}',
        "lists": b'{"x":' + b"[" * deep + b"]" * deep + b"}",
        "lists left open": b'{"hr":80,"x":' + b"[" * size,
        "objects": b'{"x":' * (size // 5) + b"1" + b"}" * (size // 5),
        "elements": b'{"readings":[' + b",".join([b"0"] * deep) + b"]}",
        "equal keys": b"{" + b",".join([b'"hr":[]'] * (size // 8)) + b"}",
        "damaged readings": b'{"readings":['
        + b",".join([b'{"hr":[],"temp":1}'] * min(1000, size // 19))
        + b"]}",
        "late batches": b'{"readings":[' + b",".join([b'{"hr":80}'] * (size // 10)) + b"]}",
        "zeros": bytes(size),
    }
