"""The same bridge, written the obvious way: what carebell's figures are compared with.

Well-written programs of their kind: a paho-mqtt client with a callback for each message, pydantic models,
rules in plain Python, psycopg. They lose nothing: a message is acknowledged after the commit of its row, the
session is persistent, and a redelivered row is passed over by the unique index.
"""
