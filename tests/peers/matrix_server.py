"""Synapse, the real homeserver of Matrix, on loopback with a database in a folder.

Started from plain code, not from trio, because one process serves all tests of a session; who is
alone with it may also kill it and start it again, with everything it knew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from .places import peers_python
from .ports import kept_port

__all__ = ["SERVER_NAME", "Synapse", "run_synapse"]

SERVER_NAME: Final = "harbour.test"
_SECRET: Final = "registration-secret"
_START_S: Final = 60.0
"""Seconds that a start may take; it takes about three."""
_GRACE_S: Final = 10.0
_FREELY: Final = {"per_second": 100_000, "burst_count": 100_000}
_UNLIMITED: Final[dict[str, Any]] = {
    "rc_message": _FREELY,
    "rc_registration": _FREELY,
    "rc_login": {"address": _FREELY, "account": _FREELY, "failed_attempts": _FREELY},
    "rc_admin_redaction": _FREELY,
    "rc_joins": {"local": _FREELY, "remote": _FREELY},
    "rc_joins_per_room": _FREELY,
    "rc_invites": {"per_room": _FREELY, "per_user": _FREELY, "per_issuer": _FREELY},
    "rc_media_create": _FREELY,
    "rc_room_creation": _FREELY,
}
_LOG: Final = {
    "version": 1,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "out": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "plain",
        }
    },
    "root": {"level": "WARNING", "handlers": ["out"]},
}


class Synapse:
    """One homeserver; its users and rooms are in `folder` and outlive the process."""

    def __init__(self, folder: Path, port: int, *, limited: bool) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self._write_config(limited=limited)

    @property
    def url(self) -> str:
        """Where clients find it, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return once it answers; raises RuntimeError with its log if it does not."""
        told = self._folder / "notify"
        told.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self._log("ab") as log:
            ready.bind(str(told))
            ready.settimeout(_START_S)
            command = [str(peers_python()), "-m", "synapse.app.homeserver", "-c", "homeserver.json"]
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, "NOTIFY_SOCKET": str(told)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
            except TimeoutError:
                self.kill()
                raise RuntimeError(f"synapse did not start:\n{self.log()}") from None

    def stop(self) -> None:
        """End it in order; insist if that takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What it has warned of."""
        return (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-10_000:]

    def register(self, name: str, password: str) -> dict[str, Any]:
        """Make an account: `user_id`, `access_token` and `device_id`."""
        url = f"{self.url}/_synapse/admin/v1/register"
        nonce: str = httpx.get(url, trust_env=False).raise_for_status().json()["nonce"]
        proof = f"{nonce}\0{name}\0{password}\0notadmin".encode()
        mac = hmac.new(_SECRET.encode(), proof, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac}
        answer = httpx.post(url, json=body, trust_env=False, timeout=30)
        made: dict[str, Any] = answer.raise_for_status().json()
        return made

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _log(self, mode: str) -> Any:
        return (self._folder / "log.txt").open(mode)

    def _write_config(self, *, limited: bool) -> None:
        """The configuration as JSON, which is YAML, too; the keys are made at the first start."""
        folder = self._folder
        listener = {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": False,
            "resources": [{"names": ["client", "media"], "compress": False}],
        }
        config = {
            "server_name": SERVER_NAME,
            "public_baseurl": f"{self.url}/",
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
            "log_config": str(folder / "log.json"),
            "pid_file": str(folder / "homeserver.pid"),
            "media_store_path": str(folder / "media"),
            "signing_key_path": str(folder / "signing.key"),
            "registration_shared_secret": _SECRET,
            "macaroon_secret_key": "macaroon-secret",
            "report_stats": False,
            "suppress_key_server_warning": True,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "max_upload_size": "10M",
            "presence": {"enabled": False},
            "caches": {"sync_response_cache_duration": 0},
            **({} if limited else _UNLIMITED),
        }
        (folder / "homeserver.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "log.json").write_text(json.dumps(_LOG), encoding="utf-8")
        generate = [str(peers_python()), "-m", "synapse.app.homeserver", "--generate-keys"]
        subprocess.run(
            [*generate, "-c", "homeserver.json"], cwd=folder, check=True, capture_output=True
        )


@contextmanager
def run_synapse(folder: Path, *, limited: bool = False) -> Generator[Synapse]:
    """A new homeserver, with Synapse's own rate limits or with none, until the block ends."""
    with kept_port() as port:
        server = Synapse(folder, port, limited=limited)
        server.start()
        try:
            yield server
        finally:
            server.stop()
