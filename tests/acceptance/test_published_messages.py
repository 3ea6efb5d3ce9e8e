"""An integrator who has nothing but the published contract: topics, quality of service, examples, schemas."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from docs.contracts import HERE
from tests.installation import Installation
from tests.mqtt import Client

CONTRACT: dict[str, Any] = json.loads((HERE / "asyncapi.json").read_text("utf-8"))
STORED = " UNION ALL ".join(
    f"SELECT device FROM {table} JOIN devices USING (device_id)"
    for table in ("events", "heartbeats", "vitals", "activity")
)


def address(name: str, device: str, region: str) -> str:
    """Return a channel's topic for a device."""
    topic = CONTRACT["channels"][name]["address"].format(region=region, device=device)
    assert isinstance(topic, str)
    return topic


async def test_every_example_of_the_contract_is_stored(installed: Installation) -> None:
    """Each example, published as the contract says, is stored, and none is a dead letter."""
    regions = CONTRACT["components"]["parameters"]["region"]["examples"]
    sent = set()
    with Client(installed.broker.town_url) as device:
        for name, operation in CONTRACT["operations"].items():
            if operation["action"] != "receive":
                continue
            for number, example in enumerate(CONTRACT["components"]["messages"][name]["examples"]):
                sender = f"{name}-{number}"
                topic = address(name, sender, regions[number % len(regions)])
                retain = operation["bindings"]["mqtt"]["retain"]
                device.publish(topic, json.dumps(example["payload"]), retain=retain)
                sent.add(sender)
    stored = await installed.until_rows(STORED, lambda rows: {row[0] for row in rows} >= sent)
    assert {row[0] for row in stored} == sent
    assert await installed.rows("SELECT topic, reason, detail FROM dead_letters") == []


async def test_a_device_hears_what_the_contract_says(installed: Installation) -> None:
    """Each message on the downlink's topic, from the call to its end, is valid by the published schema."""
    schema = json.loads((HERE / "downlink.schema.json").read_text("utf-8"))
    region = CONTRACT["components"]["parameters"]["region"]["examples"][0]
    with Client(installed.broker.town_url) as device:
        device.subscribe(address("downlink", "BELL-0001", region))
        device.publish(address("sos", "BELL-0001", region))
        heard = [json.loads(device.receive().payload)]
        number = str(heard[0]["alarm_id"])
        for command in (("ack",), ("dispatch", "--to", "网格员小李"), ("close", "--outcome", "medical")):
            code, _, errors = await installed.carebell(
                "alarm", command[0], number, *command[1:], "--by", "王芳"
            )
            assert code == 0, errors
            heard.append(json.loads(device.receive().payload))
    for message in heard:
        Draft202012Validator(schema).validate(message)
    assert [message["state"] for message in heard] == schema["properties"]["state"]["enum"]
