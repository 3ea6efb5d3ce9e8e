"""Write the published contracts beside this file."""

import sys

from docs.contracts import HERE, documents


def main() -> None:
    """Write every file, and take away what is not published any more."""
    found = documents()
    for old in HERE.glob("*.json"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (HERE / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(found)} files are written to {HERE}\n")


if __name__ == "__main__":
    main()
