"""PostgreSQL out of reach: what people are told, that nothing is done twice or half, and that service comes back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from perdure.domain.errors import Unavailable
from perdure.store import postgres as store
from perdure.store import signals
from perdure.store.database import Database
from perdure.store.migrate import bring_up_to_date
from perdure.store.opening import open_database
from perdure.store.options import PostgresOptions
from perdure.store.postgres import open_postgres
from tests.rig import postgres
from tests.rig.postgres import Cluster
from tests.rig.proxy import Proxy
from tests.rig.stores import PostgresPlace
from tests.runs.house import run, soon
from tests.store.test_postgres import facts, opened, put

pytestmark = pytest.mark.stores("postgresql")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(postgres.shared().port) as proxy:
        yield proxy


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(postgres.place_for(tmp_path / "cluster"), {}).start()
    yield made
    made.remove()


def by_way_of(proxy: Proxy, place: PostgresPlace) -> str:
    return place.url.replace(f":{postgres.shared().port}/", f":{proxy.port}/")


async def refusal(**options: Any) -> str:
    with pytest.raises(Unavailable) as refused:
        await open_database(Path("/nowhere"), "normal", PostgresOptions(**options))
    return refused.value.message


# ---- at the start


def test_what_keeps_a_server_from_its_database_is_said(place: PostgresPlace) -> None:
    port = postgres.shared().port
    postgres.execute(
        postgres.shared().url(), "DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'secret'"
    )

    async def go() -> None:
        said = await refusal(url=f"postgresql://guarded:hush@127.0.0.1:{port}/{place.name}")
        assert "Correct the user and password" in said
        assert "hush" not in said
        assert "guarded:***@" in said
        said = await refusal(url=f"postgresql://postgres@127.0.0.1:{port}/nothing_here?password=hush")
        assert "createdb" in said
        assert "hush" not in said
        said = await refusal(url=f"postgresql://postgres@127.0.0.1:{postgres.free_port()}/x")
        assert "Check that it runs" in said
        said = await refusal(url="postgresql://postgres@no-such-host.invalid/x")
        assert "Check that it runs" in said

    run(go())


def test_a_database_that_is_not_ours_is_left_alone(place: PostgresPlace) -> None:
    async def refused_to(db: Database) -> str:
        with pytest.raises(Unavailable) as refused:
            await bring_up_to_date(db)
        return refused.value.message

    async def go() -> None:
        with postgres.database() as url:
            # As a Letta server's: it keeps its migrations as we do.
            postgres.execute(
                url,
                "CREATE TABLE organizations (id VARCHAR); CREATE TABLE alembic_version (version_num VARCHAR);"
                "INSERT INTO alembic_version VALUES ('abc')",
            )
            db = await open_postgres(PostgresOptions(url=url))
            assert "not Perdure's" in await refused_to(db)
            assert "Letta" in await refused_to(db)
            await db.close()
            tables = postgres.query(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            extensions = postgres.query(url, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
            assert (tables, extensions) == ([(2,)], [(0,)])

    run(go())


def test_a_user_who_may_not_add_pgvector_is_told_who_may(place: PostgresPlace) -> None:
    admin = postgres.shared().url()
    postgres.execute(admin, "DROP ROLE IF EXISTS humble; CREATE ROLE humble LOGIN")

    async def go() -> None:
        with postgres.database() as url:
            name = url.rpartition("/")[2]
            postgres.execute(url, f"ALTER DATABASE {name} OWNER TO humble; ALTER SCHEMA public OWNER TO humble")
            db = await open_postgres(PostgresOptions(url=postgres.shared().url(name, "humble")))
            with pytest.raises(Unavailable, match="CREATE EXTENSION vector"):
                await bring_up_to_date(db)
            assert postgres.query(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
            postgres.execute(url, "CREATE EXTENSION vector")
            await bring_up_to_date(db)
            await db.close()

    run(go())


# ---- while it runs


def test_a_restart_of_the_database_is_survived(cluster: Cluster) -> None:
    heard: list[str] = []

    async def go() -> None:
        db = await open_postgres(PostgresOptions(url=cluster.url(), connections=3))
        await bring_up_to_date(db)
        db.listen(heard.append)
        await db.write(put("before"))
        await soon(lambda: db.wakes)
        cluster.stop("immediate")
        await soon(lambda: not db.wakes)
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot be used now"):
                await db.write(put("meanwhile"))
        heard.clear()
        cluster.start()
        assert await db.read(facts) == {"before": "x"}
        await db.write(put("after"))
        await soon(lambda: db.wakes)
        assert heard == [""]
        await db.write(lambda conn: signals.notify(conn, "hello"))
        await soon(lambda: heard == ["", "hello"])
        await db.close()

    run(go())


def test_everyone_hears_what_was_committed_and_nothing_else(place: PostgresPlace) -> None:
    def says(text: str, *, fails: bool = False) -> Any:
        def unit(conn: Connection) -> None:
            signals.notify(conn, text)
            assert not fails

        return unit

    async def go() -> None:
        heard: dict[str, list[str]] = {"one": [], "other": []}
        async with opened(place) as one, opened(place) as other:
            one.listen(heard["one"].append)
            other.listen(heard["other"].append)
            await soon(lambda: one.wakes and other.wakes)
            with pytest.raises(AssertionError):
                await one.write(says("never", fails=True))
            await other.write(says("ä" * (signals.MAX_BYTES // 2)))
            await one.write(says("last"))
            await soon(lambda: all(texts[-1:] == ["last"] for texts in heard.values()))
            assert heard["one"] == heard["other"] == ["", "ä" * 3999, "last"]

    run(go())


@pytest.mark.parametrize("outcome", ["committed", "aborted"])
def test_a_commit_whose_confirmation_is_lost_is_not_guessed_at(
    place: PostgresPlace, proxy: Proxy, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit takes its time, the way is cut meanwhile; the database is asked what became of it."""
    tries: list[int] = []

    async def go() -> None:
        postgres.execute(place.url, _SLOW_COMMIT)
        try:
            async with opened(place, url=by_way_of(proxy, place)) as db:

                def unit(conn: Connection) -> int:
                    tries.append(1)
                    if len(tries) > 1:
                        conn.exec_driver_sql("SET LOCAL test.quick = 'on'")
                    put(f"try {len(tries)}")(conn)
                    return len(tries)

                writing = asyncio.ensure_future(db.write(unit))
                await soon(lambda: place.query(_COMMITTING) == [(1,)])
                proxy.cut()
                if outcome == "aborted":
                    place.query(f"SELECT pg_terminate_backend(pid) {_COMMITTERS}")
                proxy.mend()
                tried = 1 if outcome == "committed" else 2
                assert await writing == tried
                assert await db.read(facts) == {f"try {tried}": "x"}
        finally:
            postgres.execute(place.url, "DROP TRIGGER slow_commit ON facts; DROP FUNCTION slow_commit")

    run(go())


def test_a_commit_that_nobody_can_tell_of_is_said_to_be_unclear(
    place: PostgresPlace, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SETTLE_SECONDS", 0.3)

    async def go() -> None:
        postgres.execute(place.url, _SLOW_COMMIT)
        try:
            async with opened(place, url=by_way_of(proxy, place)) as db:
                writing = asyncio.ensure_future(db.write(put("a")))
                await soon(lambda: place.query(_COMMITTING) == [(1,)])
                proxy.cut()
                with pytest.raises(Unavailable, match="Look before you repeat"):
                    await writing
                proxy.mend()
                assert isinstance(await db.read(facts), dict)
        finally:
            postgres.execute(place.url, "DROP TRIGGER slow_commit ON facts; DROP FUNCTION slow_commit")

    run(go())


_SLOW_COMMIT = """
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('test.quick', true) IS DISTINCT FROM 'on' THEN PERFORM pg_sleep(1); END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON facts DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION slow_commit();
"""
_COMMITTERS = "FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT' AND state = 'active'"
_COMMITTING = f"SELECT count(*) {_COMMITTERS}"
