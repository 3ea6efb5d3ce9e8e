"""A certificate authority of the tests' own, and whom it vouches for."""

import subprocess
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, home: Path) -> None:
        """Make its certificate, which it signs itself."""
        home.mkdir()
        self._home = home
        self._openssl(
            "req", "-x509", *NEW_KEY, "-subj", f"/CN={home.name}", "-keyout", "ca.key", "-out", "ca.crt"
        )

    @property
    def certificate(self) -> str:
        """Return the path of its certificate, for `broker.ca_file`."""
        return str(self._home / "ca.crt")

    def vouch(self, name: str) -> tuple[Path, Path]:
        """Return key and certificate of a server by the name of, for example, IP:127.0.0.1."""
        self._openssl("req", *NEW_KEY, "-subj", "/CN=broker", "-keyout", "server.key", "-out", "server.csr")
        (self._home / "names").write_text(f"subjectAltName={name}\n")
        self._openssl(
            *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-extfile", "names", "-out", "server.crt"),
        )
        return self._home / "server.key", self._home / "server.crt"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=self._home, check=True, capture_output=True)
