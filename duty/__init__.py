"""Everything human or outbound: handling alarms, and the desk and API where that is done."""
