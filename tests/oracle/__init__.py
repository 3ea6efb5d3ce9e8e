"""A slow engine of what docs/rules.md says: one message at a time, plain dicts, no arrays and no batches.

It is written from that page alone and shares nothing with `rules/`, so that the two can be compared. Times
are microseconds since 1970. A message is a dict:

    {"device": 7, "at": 1790000000000000, "ts": 1790000000000000, "hr": 80.0, "worn": 1.0}

with `event` where something happened, `late` where the measurement is late, and `alive` false where it proves
no life. What is not there is absent, and so is NaN.
"""
