"""Who lives with which device: made-up people of 岳阳, as the registry keeps them.

Every name is drawn from lists; no telephone number is anybody's on purpose.
"""

import random
from dataclasses import dataclass

REGIONS = {
    "430602": ("岳阳市岳阳楼区", 29.372, 113.129),
    "430602001": ("岳阳楼街道", 29.384, 113.094),
    "430602002": ("三眼桥街道", 29.366, 113.112),
    "430602003": ("吕仙亭街道", 29.359, 113.093),
    "430602004": ("金鹗山街道", 29.368, 113.135),
    "430602005": ("东茅岭街道", 29.377, 113.116),
    "430602006": ("五里牌街道", 29.391, 113.124),
}
"""Administrative codes of the town, their names, and about where they lie: degrees north, degrees east."""

_STREETS = ("巴陵中路", "德胜南路", "东茅岭路", "金鹗东路", "南湖大道", "建湘路", "求索路", "竹荫街")
_SURNAMES = "李王张刘陈杨黄周吴彭易罗谢邓何许"
_GIVEN = {
    "female": ("桂英", "秀兰", "玉珍", "凤英", "淑芬", "菊香", "春梅", "翠莲", "腊梅", "冬秀"),
    "male": ("建国", "德华", "国强", "志明", "福生", "长庚", "庆云", "水生", "正南", "树林"),
}
_RELATIONS = ("儿子", "女儿", "老伴", "邻居", "网格员")
_NOTES = ("高血压", "糖尿病", "冠心病", "青霉素过敏", "听力差，请大声", "独居，钥匙在邻居家", "")


@dataclass(frozen=True)
class Contact:
    """Somebody to call, in the order of the list."""

    name: str
    relation: str
    phone: str


@dataclass(frozen=True)
class PersonCard:
    """What the duty staff sees of a person; `sex` is female or male."""

    name: str
    birth_year: int
    sex: str
    phone: str
    address: str
    notes: str
    contacts: tuple[Contact, ...]


@dataclass(frozen=True)
class Registration:
    """One device of the registry with the person behind it; `heartbeat_seconds` is the expected interval."""

    device: str
    region: str
    model: str
    heartbeat_seconds: int
    person: PersonCard


def card(rng: random.Random, region: str, year: int) -> PersonCard:
    """Draw a person who lives in `region`; `year` is the present one."""
    sex = rng.choice(("female", "female", "male"))
    surname = rng.choice(_SURNAMES)
    street = REGIONS[region][0] if len(region) > len("430602") else ""
    return PersonCard(
        name=surname + rng.choice(_GIVEN[sex]),
        birth_year=year - rng.randint(66, 93),
        sex=sex,
        phone=f"0730-0{rng.randrange(10**6):06d}",
        address=f"岳阳楼区{street}{rng.choice(_STREETS)}{rng.randint(1, 280)}号{_flat(rng)}",
        notes=rng.choice(_NOTES),
        contacts=tuple(
            _contact(rng, surname, relation) for relation in rng.sample(_RELATIONS, rng.randint(1, 3))
        ),
    )


def _flat(rng: random.Random) -> str:
    return f"{rng.randint(1, 9)}栋{rng.randint(1, 6)}0{rng.randint(1, 4)}室"


def _contact(rng: random.Random, surname: str, relation: str) -> Contact:
    family = surname if relation in ("儿子", "女儿") else rng.choice(_SURNAMES)
    sex = {"儿子": "male", "女儿": "female"}.get(relation) or rng.choice(("female", "male"))
    return Contact(family + rng.choice(_GIVEN[sex]), relation, f"1990000{rng.randrange(10**4):04d}")
