"""Stories: what devices say over hours, and which alarms stand before staff then."""
