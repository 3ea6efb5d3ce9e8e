"""Units in which vendors measure: factor and offset that turn each into the unit of the contract."""

from typing import Final

UNITS: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "hr": {"bpm": (1, 0)},
    "spo2": {"%": (1, 0), "ratio": (100, 0)},
    "temp": {"degC": (1, 0), "degF": (5 / 9, -160 / 9), "K": (1, -273.15)},
    "sbp": {"mmHg": (1, 0), "kPa": (7.500617, 0)},
    "dbp": {"mmHg": (1, 0), "kPa": (7.500617, 0)},
    "glucose": {"mmol/L": (1, 0), "mg/dL": (1 / 18.0156, 0)},
    "steps": {"count": (1, 0)},
    "battery": {"%": (1, 0), "ratio": (100, 0), "mAh": (1, 0)},
    "rssi": {"dBm": (1, 0)},
    "confidence": {"ratio": (1, 0), "%": (0.01, 0)},
}
"""By field. 1 kPa is 7.500617 mmHg; glucose weighs 180.156 g/mol; mAh becomes % of `full`."""
