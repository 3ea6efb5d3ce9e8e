"""The tests: unit (pure), contract (every broker and database), acceptance and fault (the real things)."""
