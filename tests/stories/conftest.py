"""How stories are told: on arrays, and some on real parts, too."""

import pytest

from tests.stories import arrays, parts
from tests.stories.book import Book
from tests.stories.kit import Part, Tell, story


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Give the teller: of arrays, unless a story is marked for real parts."""
    on_parts = getattr(request, "param", "arrays") == "parts"

    def tell_it(*said: Part, rules: str = "", seconds: float = 8.0) -> Book:
        told = story(*said, rules=rules)
        if on_parts:
            broker, database, scratch = (
                request.getfixturevalue(name) for name in ("fresh_mosquitto", "timescale", "scratch")
            )
            book = parts.tell(told, broker, database.url, scratch, seconds)
        else:
            book = arrays.tell(told)
        told.judge(book)
        return book

    return tell_it
