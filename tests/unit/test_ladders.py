"""notify.toml: what it may say, what it means at which time, and what it must not let through."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from duty.notify import words
from duty.notify.answers import safe
from duty.notify.hooks import key_of, sign_city, sign_dingtalk
from duty.notify.ladders import MOST_ROUNDS, Climbing, Ladders, Verdict, arrival_limit, load
from duty.notify.notices import Notice
from duty.notify.periods import Period
from duty.notify.recipients import City
from schemas.alarms import KINDS, Class
from schemas.errors import UsageError
from schemas.settings import DutySettings

ROOT = Path(__file__).parents[2]
SINCE = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)  # Sunday, 16:00 in Shanghai
ARRIVAL = timedelta(minutes=40)
HOOKS = "".join(
    f'[recipient.{name}]\nchannel = "webhook"\nurl = "http://127.0.0.1/{name}"\n'
    for name in ("one", "two", "three")
)
STEPS = '[[ladder]]\nname = "all"\n' + "".join(
    f'[[ladder.step]]\nto = "{name}"\n' for name in ("one", "two", "three")
)


def read(text: str, directory: Path) -> Ladders:
    """Load a file with this text."""
    path = directory / "notify.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def refusal(text: str, directory: Path) -> str:
    """Return why a file is refused, without where it is."""
    with pytest.raises(UsageError) as refused:
        read(text, directory)
    return str(refused.value).replace(f"{directory}/notify.toml: ", "")


def alarm(**other: Any) -> Climbing:  # noqa: ANN401 - of several types
    """Return a call for help that nobody has acknowledged."""
    values = {
        "alarm_id": 1, "round": 1, "since": SINCE, "next_at": SINCE, "last_at": SINCE,
        "alarm_class": "life", "kind": "sos",
        "region": "430602", "drill": False, "handling": "unacknowledged", "closed": False, "arrived": False,
        "hidden": False,
    }  # fmt: skip
    return Climbing.model_validate({**values, **other})


def judged(ladders: Ladders, seconds: float, **other: Any) -> Verdict:  # noqa: ANN401 - of several types
    """Judge such an alarm so many seconds after the beginning."""
    return ladders.judge(alarm(**other), SINCE + timedelta(seconds=seconds), ARRIVAL)


def told(verdict: Verdict) -> list[tuple[int, str]]:
    """Return step and recipient of what is due."""
    return [(due.step, due.recipient) for due in verdict.due]


def after(verdict: Verdict) -> float | None:
    """Return when to look next, in seconds after the beginning."""
    return None if verdict.next_at is None else (verdict.next_at - SINCE).total_seconds()


def clock(text: str) -> datetime:
    """Return a moment by the clocks of Shanghai."""
    return datetime.fromisoformat(f"{text}+08:00")


def period(**values: Any) -> Period:  # noqa: ANN401 - of several types
    """Return a period."""
    return Period.model_validate({key.rstrip("_"): value for key, value in values.items()})


def test_the_example_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It loads, every recipient is used, every call for help has a ladder, and the page shows the same."""
    monkeypatch.setenv("CAREBELL_WECOM_URL", "https://qyapi.example/send?key=1234")
    text = (ROOT / "docs/examples/notify.toml").read_text("utf-8")
    for name in set(re.findall(r'"/etc/carebell/([a-z.]+)"', text)):
        (tmp_path / name).write_text("https://oapi.example/send?access_token=of-the-robot\n")
    ladders = read(text.replace("/etc/carebell", str(tmp_path)), tmp_path)
    assert ladders.covers_life()
    assert ladders.idle() == []
    page = (ROOT / "docs/notify.md").read_text("utf-8")
    assert text in page


def test_a_ladder_is_climbed_step_by_step(tmp_path: Path) -> None:
    """At once, after 60 s, after 180 s; then nothing, once it has lasted five minutes."""
    ladders = read(HOOKS + STEPS, tmp_path)
    assert (told(judged(ladders, 0)), after(judged(ladders, 0))) == ([(1, "one")], 60)
    assert (told(judged(ladders, 59.9)), after(judged(ladders, 59.9))) == ([(1, "one")], 60)
    assert (told(judged(ladders, 60)), after(judged(ladders, 60))) == ([(1, "one"), (2, "two")], 180)
    assert told(judged(ladders, 180))[-1] == (3, "three")
    assert [after(judged(ladders, each)) for each in (180, 299, 300, 9999)] == [300, 300, None, None]


@pytest.mark.parametrize(
    ("other", "left"),
    [
        ({}, ["missed", "site", "always"]),
        ({"handling": "acknowledged"}, ["site", "always"]),
        ({"handling": "dispatched"}, ["site", "always"]),
        ({"handling": "arrived", "arrived": True}, ["always"]),
        ({"handling": "closed", "closed": True}, ["always"]),
        ({"hidden": True}, []),
    ],
    ids=str,
)
def test_a_step_falls_away_when_it_is_needless(
    tmp_path: Path, other: dict[str, Any], left: list[str]
) -> None:
    """Acknowledged, on site, closed, or not before staff: each step by what it waits for."""
    text = "".join(
        f'[recipient.{name}]\nchannel = "webhook"\nurl = "http://h/"\n'
        for name in ("missed", "site", "always")
    )
    text += '[[ladder]]\nname = "x"\n[[ladder.step]]\nto = "missed"\n'
    text += '[[ladder.step]]\nwhen = "not_arrived"\nto = "site"\n'
    text += '[[ladder.step]]\nwhen = "always"\nto = "always"\n'
    ladders = read(text, tmp_path)
    assert [name for _, name in told(judged(ladders, 40 * 60, **other))] == left
    early = judged(ladders, 40 * 60 - 1, **other)
    assert ("site" in left) is (after(early) == 40 * 60)


def test_the_first_ladder_for_an_alarm_is_its_own(tmp_path: Path) -> None:
    """By region, class, kind and time; what none is for is told to nobody."""
    text = HOOKS + '[period.night]\nfrom = "22:00"\nto = "06:00"\n'
    for name, conditions in (
        ("one", 'region = ["4306"]\nclass = "life"\nduring = "night"'),
        ("two", 'region = ["4306", "34"]\nkind = ["sos", "fall"]'),
        ("three", 'class = ["health", "technical"]'),
    ):
        text += f'[[ladder]]\nname = "{name}"\n{conditions}\n[[ladder.step]]\nto = "{name}"\n'
    ladders = read(text, tmp_path)
    night = {"since": clock("2026-03-01T23:30")}
    found = [
        [name for _, name in told(ladders.judge(alarm(**other), clock("2026-03-02T12:00"), ARRIVAL))]
        for other in (
            night, {}, {"region": "340100"}, {**night, "region": "340100"}, {"region": "110101"},
            {"kind": "area_left"}, {"kind": "hr_high", "alarm_class": "health"}, {"region": ""},
        )
    ]  # fmt: skip
    assert found == [["one"], ["two"], ["two"], ["two"], [], [], ["three"], []]
    assert not ladders.covers_life()


def test_a_period_passes_midnight() -> None:
    """Friday's night reaches into Saturday morning, and no other night does."""
    night = period(days="Fri", from_="22:00", to="06:00")
    for moment, holds in (
        ("2026-03-06T21:59:59", False), ("2026-03-06T22:00:00", True), ("2026-03-07T05:59:59", True),
        ("2026-03-07T06:00:00", False), ("2026-03-07T23:00:00", False), ("2026-03-06T03:00:00", False),
    ):  # fmt: skip
        assert night.covers(clock(moment)) is holds, moment
    assert night.covers(datetime(2026, 3, 6, 14, 0, tzinfo=UTC)), "22:00 in Shanghai"


def test_a_calendar_knows_holidays_and_worked_saturdays() -> None:
    """`not_on` takes days out, `also_on` puts some in, `dates` are the only ones, by the day they begin."""
    work = period(
        days="Mon-Fri", from_="08:00", to="18:00", not_on=["2026-10-01..2026-10-07"], also_on="2026-10-10"
    )
    days = ("2026-09-30", "2026-10-01", "2026-10-07", "2026-10-08", "2026-10-10", "2026-10-11")
    assert [work.covers(clock(f"{day}T09:00")) for day in days] == [True, False, False, True, True, False]
    assert not work.covers(clock("2026-10-10T07:59"))
    feast = period(dates="2026-02-16", from_="20:00", to="08:00")
    times = ("2026-02-16T07:00", "2026-02-16T21:00", "2026-02-17T07:00")
    assert [feast.covers(clock(each)) for each in times] == [False, True, True]


def test_a_rota_tells_who_is_on_call_when_the_step_is_told(tmp_path: Path) -> None:
    """Looking again tells nobody else; what was due while all desks were away meets the shift of now."""
    text = HOOKS + '[period.day]\nfrom = "06:00"\nto = "16:01"\n'
    text += '[[rota.boss]]\nduring = "day"\nto = ["one", "two"]\n[[rota.boss]]\nto = "three"\n'
    text += '[[ladder]]\nname = "x"\n[[ladder.step]]\nto = ["boss", "one"]\n[[ladder.step]]\nto = "boss"\n'
    ladders = read(text, tmp_path)
    assert told(judged(ladders, 0)) == [(1, "one"), (1, "two")]
    again = judged(ladders, 60, next_at=SINCE + timedelta(seconds=60))
    assert told(again) == [(1, "one"), (1, "two"), (2, "three")]
    assert told(judged(ladders, 3600)) == [(1, "three"), (1, "one"), (2, "three")]


def test_again_begins_the_next_round(tmp_path: Path) -> None:
    """As long as nobody acknowledges, and not for ever."""
    text = HOOKS + STEPS.replace(NAMED, NAMED + '\nagain = "10m"')
    ladders = read(text, tmp_path)
    assert after(judged(ladders, 180)) == 600
    anew = judged(ladders, 610)
    assert (anew.round, anew.since, after(anew)) == (2, SINCE + timedelta(seconds=610), 610)
    assert after(judged(ladders, 610, round=MOST_ROUNDS)) is None
    assert after(judged(ladders, 610, handling="acknowledged")) is None


ON_SITE = '[[ladder.step]]\nwhen = "not_arrived"\nto = "three"\n'


def test_that_nobody_has_arrived_holds_no_call_up(tmp_path: Path) -> None:
    """`again` begins anew at its time, and a step that waits for arrival stands beside it."""
    text = HOOKS + STEPS.replace(NAMED, NAMED + '\nagain = "10m"') + ON_SITE
    ladders = read(text, tmp_path)
    assert after(judged(ladders, 180)) == 600
    assert judged(ladders, 600).round == 2
    answered = judged(ladders, 600, handling="dispatched")
    assert (answered.round, after(answered)) == (1, ARRIVAL.total_seconds())


def test_who_calls_again_and_is_not_answered_calls_staff_again(tmp_path: Path) -> None:
    """When all were told and five minutes are over; not sooner, not for a machine, not once answered."""
    ladders = read(HOOKS + STEPS + ON_SITE, tmp_path)
    later = SINCE + timedelta(minutes=6)
    anew = judged(ladders, 361, last_at=later)
    assert (anew.round, anew.since) == (2, SINCE + timedelta(seconds=361))
    assert judged(ladders, 361, last_at=SINCE + timedelta(minutes=4)).round == 1
    assert judged(ladders, 361, last_at=later, alarm_class="technical").round == 1
    assert judged(ladders, 361, last_at=later, handling="acknowledged").round == 1
    slow = read(HOOKS + STEPS + '[[ladder.step]]\nafter = "10m"\nto = "one"\n', tmp_path)
    assert judged(slow, 361, last_at=later).round == 1


def test_a_rota_with_hours_of_nobody_is_told(tmp_path: Path) -> None:
    """A rota whose shifts all have periods may be nobody at some hour."""
    work = '[period.work]\ndays = "Mon-Fri"\nfrom = "08:00"\nto = "18:00"\n'
    shift = '[[rota.m]]\nduring = "work"\nto = "one"\n'
    always = '[[rota.m]]\nto = "two"\n'
    ladder = '[[ladder]]\nname = "x"\n[[ladder.step]]\nto = "m"\n'
    assert read(HOOKS + work + shift + ladder, tmp_path).gaps() == ["m"]
    assert read(HOOKS + work + shift + always + ladder, tmp_path).gaps() == []


def test_a_drill_is_told_to_own_staff_alone(tmp_path: Path) -> None:
    """A city hears of it only where the file says so."""
    city = '[recipient.city]\nchannel = "city"\nurl = "https://c.example/"\nsecret = "0123456789abcdef"\n'
    ladder = '[[ladder]]\nname = "x"\n[[ladder.step]]\nto = ["one", "city"]\n'
    assert told(judged(read(HOOKS + city + ladder, tmp_path), 0, drill=True)) == [(1, "one")]
    assert told(judged(read(HOOKS + city + "drills = true\n" + ladder, tmp_path), 0, drill=True))[1:] == [
        (1, "city")
    ]
    assert told(judged(read(HOOKS + city + ladder, tmp_path), 0))[1:] == [(1, "city")]


def test_the_limit_of_arrival_is_the_regions() -> None:
    """The longest beginning of its code counts."""
    settings = DutySettings(arrival_minutes=40, arrival={"43": 20, "4306": 10})
    found = [arrival_limit(settings, region) for region in ("430602", "430100", "110101", "")]
    assert found == [timedelta(minutes=each) for each in (10, 20, 40, 40)]


NAMED = 'name = "all"'
HOOK = '[recipient.a]\nchannel = "webhook"\n'
MAIL = '[recipient.a]\nchannel = "smtp"\nhost = "h"\nfrom = "a@b.cn"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "x: no such key"),
        ("[", "not TOML"),
        (HOOK, "recipient.a.webhook.url: Field required"),
        (HOOK + 'url = "ftp://s3cret/"', "a URL is http(s)://host/path"),
        (HOOK + 'url = "http://user:s3cret@h/"', "without login"),
        (HOOK + 'url = "http://h:99999/s3cret"', "its host or port cannot be read"),
        (HOOK + 'url = "http://h/s3cret\\r\\nX: y"', "a URL is plain ASCII"),
        (HOOK + 'url = "file:///etc/s3cret"', "a URL is http(s)://host/path"),
        (HOOK + 'url_env = "NO_SUCH_VARIABLE"', "url_env = NO_SUCH_VARIABLE: it is empty"),
        (HOOK + 'url_env = "https://h/?key=s3cret"', "url_env names where the secret stands"),
        (HOOK + 'url_file = "https://h/?key=s3cret"', "url_file names where the secret stands"),
        (HOOK + 'url_file = "/no/such/file"', "url_file = /no/such/file: cannot be read: FileNotFoundError"),
        (HOOK + 'url = "http://h/"\nurl_env = "PATH"', "url and url_env are both given"),
        (HOOK + 'url = "http://h/"\nurls = 1', "recipient.a.webhook.urls: no such key"),
        (HOOK.replace("webhook", "pager"), "recipient.a: Input tag 'pager'"),
        ('[recipient."a b"]\nchannel = "webhook"\nurl = "http://h/"', "match pattern"),
        ('[recipient.a]\nchannel = "city"\nurl = "http://h/"\nsecret = "s3cret"', "at least 16"),
        (MAIL + 'to = "a@b.cn\\r\\nBcc: x@y.cn"', "a mail address is name@host"),
        (MAIL + 'to = "a@b.cn"\ntls = "none"\nusername = "u"\npassword = "s3cret"', "a password is not sent"),
        (MAIL + 'to = "a@b.cn"\nusername = "u"', "username without password"),
        ('[recipient.a]\nchannel = "mqtt"\ntopic = "carebell/v1/430602/B/sos"', "a topic begins with"),
        ('[recipient.a]\nchannel = "mqtt"\ntopic = "carebell/down/v1/+/B"', "a topic begins with"),
        (HOOKS + STEPS + "[[ladder.step]]\nto = 'one'", "step 4: `after` is missing"),
        (HOOKS + STEPS.replace('"two"', '"nobody"'), "ladder all: there is no recipient nobody"),
        (HOOKS + STEPS.replace(NAMED, NAMED + '\nduring = "x"'), "ladder all: there is no period x"),
        (HOOKS + STEPS.replace(NAMED, NAMED + '\nkind = "sus"'), "ladder[1].kind[1]: Value error"),
        (HOOKS + STEPS.replace(NAMED, NAMED + '\nclass = "lif"'), "ladder[1].class[1]"),
        (HOOKS + STEPS.replace(NAMED, NAMED + '\nregion = "4306%"'), "ladder[1].region[1]"),
        (HOOKS + STEPS.replace(NAMED, NAMED + '\nagain = "1m"'), "ladder[1].again"),
        (HOOKS + STEPS.replace('to = "one"', 'after = "25h"\nto = "one"'), "ladder[1].step[1].after"),
        (HOOKS + '[[rota.one]]\nto = "two"', "one is a recipient and a rota"),
        (HOOKS + '[[rota.r]]\nto = "r"', "rota r: there is no recipient r"),
        ('[period.p]\ndates = "2026-13-01"', "month must be in"),
        ('[period.p]\ndates = "2026-03-02..2026-03-01"', "days are written '2026-10-01'"),
        ('[period.p]\nfrom = "08:00"\nto = "08:00"', "must differ"),
        ('desk_url = "javascript:alert(1)"', "desk_url"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_without_secrets(tmp_path: Path, text: str, said: str) -> None:
    """The key and what is allowed; the value of what may be a secret is not shown."""
    found = refusal(text, tmp_path)
    assert said in found
    assert "s3cret" not in found


def test_a_file_has_its_bound(tmp_path: Path) -> None:
    """Too long a file is not read to its end, and one that is not there is named."""
    assert "longer than" in refusal("#" * 300_001, tmp_path)
    with pytest.raises(UsageError, match=r"gone\.toml: cannot be read: No such file"):
        load(tmp_path / "gone.toml")


def test_secrets_come_from_environment_and_files_and_show_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever prints a recipient sees stars."""
    monkeypatch.setenv("HOOK_URL", "https://h.example/hook?key=s3cret-key")
    (tmp_path / "secret").write_text("s3cret-of-the-city\n")
    text = f'[recipient.a]\nchannel = "city"\nurl_env = "HOOK_URL"\nsecret_file = "{tmp_path}/secret"\n'
    ladders = read(text, tmp_path)
    found = ladders.recipient["a"]
    assert isinstance(found, City)
    assert found.url.get_secret_value() == "https://h.example/hook?key=s3cret-key"
    assert found.secret.get_secret_value() == "s3cret-of-the-city"
    assert "s3cret" not in repr(ladders) + str(ladders) + ladders.model_dump_json()
    assert safe("no s3cret-key,\r\n\x1b[31m s3cret-of-the-city", found.secrets()) == "no ***, [31m ***"
    assert len(safe("x" * 10_000, [])) == 200


def test_signatures_are_as_their_platforms_compute_them() -> None:
    """Known pairs, worked out by hand with openssl."""
    url = sign_dingtalk("https://o/robot/send?access_token=t", "SEC0", 1_577_262_236.757)
    assert url.startswith("https://o/robot/send?access_token=t&timestamp=1577262236757&sign=")
    assert sign_dingtalk("https://o/send", "", 0.0) == "https://o/send"
    assert sign_city("k" * 16, 1.5, b"{}") == {
        "X-Carebell-Timestamp": "1500",
        "X-Carebell-Signature": "3e60679638692b38b4ffd3b384c8b845e8d6944b625e53f68ed7ba59170c177f",
    }
    assert url.endswith("&sign=TuYHLoOxvhFb8W0oTO9PdN0AN2VhTk4qdnVQq6fXCRo%3D")


def notice(**other: Any) -> Notice:  # noqa: ANN401 - of several types
    """Return a notice of a call for help."""
    values = {
        "notice_id": 1, "alarm_id": 7, "round": 1, "step": 2, "recipient": "one", "state": "waiting",
        "attempts": 1, "created_at": SINCE, "kind": "sos", "alarm_class": Class.LIFE,
        "severity": KINDS["sos"].severity, "handling": "unacknowledged", "raised_at": SINCE,
        "last_at": SINCE, "closed_at": None, "count": 1, "device": "BELL-1", "region": "430602",
        "region_name": "岳阳楼区",
    }  # fmt: skip
    return Notice(**{**values, **other})


def test_a_message_says_what_staff_must_know() -> None:
    """All of one alarm; of many a line each, and how many more there are."""
    assert words.text([notice()], "https://desk.example/").split("\n") == [
        "【生命·紧急】紧急呼叫 岳阳楼区 BELL-1",
        "carebell 报警 7 号，第 2 级通知",
        "时间：2026-03-01 16:00:00",
        "状态：未确认",
        "https://desk.example/#alarm=7",
    ]
    many = words.text([notice(alarm_id=number) for number in range(12)]).split("\n")
    assert (many[0], many[-1], len(many)) == ("carebell 报警 12 条", "另有 2 条，请看值班台", 12)


@pytest.mark.parametrize(
    "evil", ["a\r\nBcc: b", "a\x00\u202eb\u2066", "@all <@all> <b>", "x" * 5000, "\ud800"]
)
def test_what_others_wrote_stays_text(evil: str) -> None:
    """No line ends, no turned writing, no mention, no markup, and never too long."""
    found = notice(device=evil, region_name=evil, person=evil, address=evil)
    for line in words.text([found]).split("\n"):
        assert line.isprintable()
        assert not set(line) & set("@<>")
        assert len(line) < 400
    assert len(words.text([found]).split("\n")) == 6
    assert len(words.cut(words.text([found] * 50), 2048).encode()) <= 2048


def test_keys_tell_repetitions_from_other_notices() -> None:
    """One key for alarm, round, step and recipient, fit for a header; a message of many has its own."""
    keys = [
        notice(**other).key
        for other in ({}, {"alarm_id": 8}, {"round": 2}, {"step": 3}, {"recipient": "值班群"})
    ]
    assert len(set(keys)) == 5
    assert notice(attempts=9, handling="acknowledged").key == keys[0]
    assert all(key.isascii() and key.isprintable() and " " not in key for key in keys)
    assert key_of([notice()]) == keys[0]
    assert key_of([notice(), notice(alarm_id=8)]) not in keys
