"""PostgreSQL as a store: what a unit of work can rely on, and what becomes of it when the database fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.util import await_

from perdure.domain.errors import NotFound, Unavailable
from perdure.store.database import Savepoint, is_passing
from perdure.store.options import PostgresOptions
from perdure.store.postgres import PostgresDatabase, open_postgres
from tests.rig.races import race, unit
from tests.rig.stores import PostgresPlace
from tests.runs.house import run, soon

pytestmark = pytest.mark.stores("postgresql")


@asynccontextmanager
async def opened(place: PostgresPlace, **options: Any) -> AsyncIterator[PostgresDatabase]:
    db = await open_postgres(PostgresOptions(**{"url": place.url, "connections": 4, **options}))
    try:
        yield db
    finally:
        await db.close()


def put(name: str, value: str = "x") -> Callable[[Connection], None]:
    """A unit that stores something where nothing else is."""
    return lambda conn: conn.info["driver"].execute("INSERT INTO facts VALUES ($1, $2)", (name, value)) and None


def facts(conn: Connection) -> dict[str, str]:
    return {name: value for name, value in conn.execute(text("SELECT name, value FROM facts"))}  # noqa: C416


def say(conn: Connection, sql: str) -> Any:
    return conn.exec_driver_sql(sql)


# ---- what a unit can rely on


def test_what_raises_leaves_nothing_and_the_next_one_works(place: PostgresPlace) -> None:
    def fails(conn: Connection) -> None:
        put("half")(conn)
        raise NotFound("no such thing")

    async def go() -> None:
        async with opened(place, connections=1) as db:
            with pytest.raises(NotFound):
                await db.write(fails)
            await db.write(put("whole"))
            assert await db.read(facts) == {"whole": "x"}

    run(go())


def test_a_read_sees_one_moment_and_changes_nothing(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place) as db:
            looked, changed = asyncio.Event(), asyncio.Event()

            def look_twice(conn: Connection) -> tuple[Any, Any]:
                before = facts(conn)
                looked.set()
                await_(changed.wait())
                return before, facts(conn)

            looking = asyncio.ensure_future(db.read(look_twice))
            await looked.wait()
            await db.write(put("new"))
            changed.set()
            assert await looking == ({}, {})
            with pytest.raises(Exception, match="read-only"):
                await db.read(put("never"))

    run(go())


def test_a_caller_who_goes_away_does_not_undo_what_it_asked_for(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place) as db:
            began, may_end = asyncio.Event(), asyncio.Event()

            def slow(conn: Connection) -> None:
                began.set()
                await_(may_end.wait())
                put("kept")(conn)

            asking = asyncio.ensure_future(db.write(slow))
            await began.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            may_end.set()
            await soon(lambda: place.query("SELECT name FROM facts") == [("kept",)])

    run(go())


def test_a_part_of_a_unit_is_undone_alone(place: PostgresPlace) -> None:
    def parts(conn: Connection) -> list[str]:
        said: list[str] = []
        for name in ("a", "b", "a", "c"):
            try:
                with Savepoint(conn):
                    put(name)(conn)
                    if name == "b":
                        raise NotFound("not this one")
            except (IntegrityError, NotFound) as error:
                said.append(type(error).__name__)
            except Exception as error:  # noqa: BLE001 the driver's own word for a violated constraint
                said.append(type(error).__name__)
        return said

    async def go() -> None:
        async with opened(place) as db:
            assert await db.write(parts) == ["NotFound", "IntegrityError"]
            assert await db.read(facts) == {"a": "x", "c": "x"}

    run(go())


def test_text_is_in_the_order_of_its_bytes(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place) as db:
            for name in ("a", "B", "ä", "_", "Z"):
                await db.write(put(name))
            names = await db.read(
                lambda conn: conn.execute(text("SELECT name FROM facts ORDER BY name")).scalars().all()
            )
            assert names == ["B", "Z", "_", "a", "ä"]

    run(go())
    others = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
    others += "AND data_type IN ('character varying', 'text') AND collation_name IS DISTINCT FROM 'C'"
    indexed = "SELECT tablename FROM pg_indexes WHERE schemaname = 'public'"
    loose = {(table, column) for table, column in place.query(others)} & {
        (table, "id") for (table,) in place.query(indexed)
    }
    assert loose == set()


# ---- other transactions in the way


def test_units_that_lock_each_other_out_both_get_through(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place) as db:
            for name in "ab":
                await db.write(put(name, "0"))
            met = asyncio.Barrier(2)
            meetings = [0]

            def both(first: str, second: str) -> Callable[[Connection], None]:
                def add(conn: Connection) -> None:
                    for name in (first, second):
                        say(conn, f"UPDATE facts SET value = value || '1' WHERE name = '{name}'")
                        if name == first and meetings[0] < 2:
                            meetings[0] += 1
                            await_(met.wait())

                return add

            await asyncio.gather(db.write(both("a", "b")), db.write(both("b", "a")))
            assert await db.read(facts) == {"a": "011", "b": "011"}

    run(go())


def test_a_row_that_somebody_else_was_faster_to_add_is_seen_by_the_next_try(place: PostgresPlace) -> None:
    tries: list[str] = []

    def make_sure(name: str) -> Callable[[Connection], str]:
        def look_and_put(conn: Connection) -> str:
            tries.append(name)
            found = facts(conn).get("only")
            if found is None:
                put("only", name)(conn)
            return found or name

        return look_and_put

    async def go() -> None:
        async with opened(place) as db:
            assert await race(place, db, unit(make_sure("one")), unit(make_sure("other"))) == ["one", "one"]
            assert tries == ["one", "other", "other"]

    run(go())


def test_a_constraint_that_stays_violated_is_the_units_own_fault(place: PostgresPlace) -> None:
    tries: list[int] = []

    def twice(conn: Connection) -> None:
        tries.append(1)
        for _ in range(2):
            conn.execute(text("INSERT INTO facts VALUES ('a', 'x')"))

    async def go() -> None:
        async with opened(place) as db:
            with pytest.raises(IntegrityError):
                await db.write(twice)
            assert len(tries) <= 4
            assert await db.read(facts) == {}

    run(go())


def test_statements_of_before_a_change_of_the_schema_are_prepared_anew(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place, connections=1) as db:
            await db.write(put("a"))

            def ask(conn: Connection) -> Any:
                return conn.info["driver"].execute("SELECT * FROM facts").fetchall()

            assert len((await db.read(ask))[0]) == 2
            place.query("ALTER TABLE facts ADD COLUMN more VARCHAR")
            try:
                assert len((await db.read(ask))[0]) == 3
            finally:
                place.query("ALTER TABLE facts DROP COLUMN more")

    run(go())


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_a_value_that_cannot_be_stored_is_the_units_own_fault(place: PostgresPlace, value: Any) -> None:
    tries: list[int] = []

    def ask(conn: Connection, how: Callable[[Connection], Any]) -> Any:
        tries.append(1)
        return how(conn)

    async def go() -> None:
        async with opened(place) as db:
            sql = f"SELECT ${1}::{'bigint' if isinstance(value, int) else 'text'}"
            for how in (
                lambda conn: conn.info["driver"].execute(sql, (value,)),
                lambda conn: conn.exec_driver_sql(sql, (value,)),
            ):
                with pytest.raises((asyncpg.DataError, DBAPIError)) as caught:
                    await db.read(lambda conn, how=how: ask(conn, how))
                assert not is_passing(caught.value)
            assert len(tries) == 2

    run(go())


# ---- connections


def test_connections_are_few_and_everyone_gets_a_turn(place: PostgresPlace) -> None:
    counted = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'perdure'"
    )

    async def go() -> None:
        async with opened(place, connections=3) as db:
            most = await asyncio.gather(
                *(
                    db.read(lambda conn: say(conn, f"{counted} AND pg_sleep(0.002) IS NOT NULL").scalar())
                    for _ in range(50)
                )
            )
            assert max(most) == 3

    run(go())


def test_who_waits_too_long_for_a_connection_is_told_so(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place, connections=1, seconds=0.3) as db:
            began, hold = asyncio.Event(), asyncio.Event()
            busy = asyncio.ensure_future(db.read(lambda conn: (began.set(), await_(hold.wait()))))
            await began.wait()
            with pytest.raises(Unavailable, match="PERDURE_DATABASE_CONNECTIONS"):
                await db.read(facts)
            hold.set()
            await busy
            assert await db.read(facts) == {}

    run(go())


def test_a_statement_that_takes_too_long_is_ended(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place, seconds=0.3) as db:
            began = time.monotonic()
            with pytest.raises(Unavailable, match="statement timeout"):
                await db.write(lambda conn: say(conn, "SELECT pg_sleep(60)"))
            assert time.monotonic() - began < 10
            assert await db.read(facts) == {}

    run(go())


@pytest.mark.parametrize("when", ["idle", "in the middle"])
def test_a_connection_that_was_cut_goes_unnoticed(place: PostgresPlace, when: str) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    cut += "AND application_name = 'perdure'"

    async def go() -> None:
        async with opened(place) as db:
            await db.write(put("before"))
            if when == "idle":
                place.query(cut)
            tries: list[int] = []

            def work(conn: Connection) -> None:
                tries.append(1)
                put("after")(conn)
                if when == "in the middle" and len(tries) == 1:
                    await_(asyncio.to_thread(place.query, cut))

            await db.write(work)
            assert await db.read(facts) == {"before": "x", "after": "x"}

    run(go())


def test_what_needs_a_primary_says_so(place: PostgresPlace) -> None:
    async def go() -> None:
        async with opened(place) as db:
            place.query(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
            try:
                async with opened(place) as stuck:
                    with pytest.raises(Unavailable, match="primary"):
                        await stuck.write(put("a"))
            finally:
                place.query(f"ALTER DATABASE {place.name} RESET default_transaction_read_only")
            await db.write(put("a"))

    run(go())
