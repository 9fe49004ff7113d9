"""Secrets, sealed before they reach the disk: the key, and the environment values of agents."""

import base64
import binascii
import hashlib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from perdure.domain.agents import Secret
from perdure.domain.errors import Unavailable
from perdure.domain.ids import new_id, now
from perdure.store.rows import to_struct
from perdure.store.tables import agent_secrets, facts

KEY_FILE: Final = "secret.key"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_KEY_FACT: Final = "key"
_SALT: Final = b"perdure secrets 1"

_COLUMNS: Final = tuple(agent_secrets.c[name] for name in Secret.__struct_fields__)


class Vault:
    """Seals text with AES-256-GCM. Make one with `open_vault`; it may be used from several threads."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._cipher: Any = None

    def seal(self, text: str) -> bytes:
        """The text, encrypted under a nonce of its own."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._opened().encrypt(nonce, text.encode(), None)

    def open(self, blob: bytes) -> str:
        """The text of a sealed blob. Raises Unavailable where it was sealed with another key, or is damaged."""
        invalid_tag = importlib.import_module("cryptography.exceptions").InvalidTag
        try:
            return self._opened().decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], None).decode()
        except (invalid_tag, ValueError) as error:
            raise Unavailable(
                "A stored secret cannot be opened: it was sealed with another key. Start the server with the "
                "LETTA_ENCRYPTION_KEY (or PERDURE_ENCRYPTION_KEY, or the file secret.key in the data directory) it was "
                "stored with, or set the secret again."
            ) from error

    def fingerprint(self) -> str:
        """What tells its key from others, without telling the key."""
        return hashlib.sha256(b"perdure key 1" + self._key()).hexdigest()

    def _opened(self) -> Any:
        # Loaded with the first secret, so that a server without any starts without it.
        if self._cipher is None:
            aead = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
            self._cipher = aead.AESGCM(self._key())
        return self._cipher


def open_vault(directory: Path, passphrase: str | None) -> Vault:
    """The vault of a data directory.

    Its key comes from `passphrase` where there is one, else from the file `secret.key`, made on first use of the
    directory and readable by its owner only. Raises Unavailable where that file cannot be read or made.
    """
    if passphrase:
        return Vault(lambda: hashlib.scrypt(passphrase.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=KEY_BYTES))
    key = _key_in(directory / KEY_FILE)
    return Vault(lambda: key)


def find_vault(directory: Path, passphrase: str | None) -> Vault | None:
    """The vault of a data directory, without making a key; None where there is none."""
    return open_vault(directory, passphrase) if passphrase or (directory / KEY_FILE).exists() else None


def agree_on_key(conn: Connection, vault: Vault) -> None:
    """See to it that all servers on a database seal with one key: that of the first of them.

    Raises Unavailable where this one has another.
    """
    fingerprint = vault.fingerprint()
    known = conn.execute(select(facts.c.value).where(facts.c.name == _KEY_FACT)).scalar()
    if known is None:
        conn.execute(insert(facts).values(name=_KEY_FACT, value=fingerprint))
    elif known != fingerprint:
        raise Unavailable(
            "The secrets in this database are sealed with another key. Start every server on it with the same "
            "PERDURE_ENCRYPTION_KEY, or with a copy of the first one's secret.key in its data directory."
        )


def _key_in(path: Path) -> bytes:
    try:
        if not path.exists():
            _write_key(path)
        key = base64.b64decode(path.read_bytes(), validate=False)
    except (OSError, binascii.Error) as error:
        raise Unavailable(
            f"The key file {path} cannot be used ({error}). Mend its permissions, restore it from a backup, "
            "or set LETTA_ENCRYPTION_KEY."
        ) from error
    if len(key) != KEY_BYTES:
        raise Unavailable(f"The key file {path} is damaged. Restore it from a backup, or set LETTA_ENCRYPTION_KEY.")
    return key


def _write_key(path: Path) -> None:
    # Written beside its place and moved there, so that a crash leaves a whole key or none.
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    fresh.replace(path)


def of_agents(conn: Connection, agent_ids: Iterable[str], vault: Vault) -> dict[str, list[Secret]]:
    """The secrets of several agents, in order of their keys. Raises Unavailable as `Vault.open` does."""
    found: dict[str, list[Secret]] = {}
    wanted = select(*_COLUMNS).where(agent_secrets.c.agent_id.in_(list(agent_ids))).order_by(agent_secrets.c.key)
    for row in conn.execute(wanted).mappings():
        secret = to_struct(row, Secret, value=vault.open(row["value"]))
        found.setdefault(secret.agent_id, []).append(secret)
    return found


def unreadable(conn: Connection, vault: Vault | None) -> list[str]:
    """The ids of the secrets that this vault cannot open; of all where there is no key."""
    found: list[str] = []
    for secret_id, sealed in conn.execute(select(agent_secrets.c.id, agent_secrets.c.value)):
        try:
            if vault is None:
                raise Unavailable("There is no key.")
            vault.open(sealed)
        except Unavailable:
            found.append(secret_id)
    return found


def of_agent(conn: Connection, agent_id: str, vault: Vault) -> list[Secret]:
    """The secrets of one agent, in order of their keys. Raises Unavailable as `Vault.open` does."""
    return of_agents(conn, (agent_id,), vault).get(agent_id, [])


def replace(conn: Connection, agent_id: str, values: Mapping[str, str], vault: Vault) -> None:
    """Make `values` the secrets of an agent: keys that stay keep their ids, others go."""
    at = now()
    of_this = agent_secrets.c.agent_id == agent_id
    conn.execute(delete(agent_secrets).where(of_this, agent_secrets.c.key.not_in(list(values))))
    kept = set(conn.execute(select(agent_secrets.c.key).where(of_this)).scalars())
    for key, value in values.items():
        sealed = vault.seal(value)
        if key in kept:
            change = update(agent_secrets).where(of_this, agent_secrets.c.key == key)
            conn.execute(change.values(value=sealed, updated_at=at))
        else:
            row = {"id": new_id("agent-env"), "agent_id": agent_id, "key": key, "value": sealed}
            conn.execute(insert(agent_secrets).values(**row, created_at=at, updated_at=at))
