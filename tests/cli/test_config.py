"""Settings: where they come from, what is refused and with which words, and that the docs show all of them."""

from pathlib import Path
from typing import Any

import pytest

from perdure.config import SETTINGS, is_loopback, read_settings
from perdure.domain.errors import Invalid
from perdure.providers.known_providers import KNOWN_PROVIDERS
from perdure.reading import Setting

DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def refusal(environment: dict[str, str], **flags: Any) -> str:
    with pytest.raises(Invalid) as caught:
        read_settings(environment, **flags)
    return caught.value.message


def test_nothing_set_gives_a_private_server_in_the_home_directory() -> None:
    settings = read_settings({"HOME": "/home/ada"})
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8283, Path("/home/ada/.perdure"))
    assert (settings.sync, settings.busy, settings.max_queued) == ("normal", "queue", 100)
    assert (settings.ping_seconds, settings.retention_hours, settings.tool_seconds) == (20, 24, 180)
    assert (settings.max_body, settings.password, settings.trusted_tools) == (64 * 2**20, None, ())


def test_the_data_directory_follows_xdg_and_flags_come_first() -> None:
    environment = {"HOME": "/home/ada", "XDG_DATA_HOME": "/home/ada/share"}
    assert read_settings(environment).data == Path("/home/ada/share/perdure")
    environment["PERDURE_DATA"] = "/srv/perdure"
    assert read_settings(environment).data == Path("/srv/perdure")
    assert read_settings(environment, data=Path("/mnt/x"), port=None).data == Path("/mnt/x")


def test_variables_of_the_old_server_are_read_and_ours_come_first() -> None:
    environment = {
        "LETTA_SERVER_PASSWORD": "old",
        "LETTA_KEEPALIVE_INTERVAL": "5",
        "TOOL_SANDBOX_TIMEOUT": "30",
        "ACCEPTABLE_ORIGINS": '["https://a.example", "http://b.example:3000/"]',
        "LETTA_DEBUG": "true",
    }
    settings = read_settings(environment)
    assert (settings.password, settings.ping_seconds, settings.tool_seconds) == ("old", 5, 30)
    assert settings.cors_origins == ("https://a.example", "http://b.example:3000")
    assert settings.log_level == "debug"
    assert read_settings({**environment, "PERDURE_PASSWORD": "new"}).password == "new"


def test_lists_and_sizes_are_read() -> None:
    settings = read_settings({"PERDURE_TOOLS": "a.b:c, d:e ,", "PERDURE_MAX_BODY": "2 MiB"})
    assert settings.trusted_tools == ("a.b:c", "d:e")
    assert settings.max_body == 2 * 2**20


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("PERDURE_PORT", "eighty", "from 0 to 65535"),
        ("PERDURE_PORT", "70000", "from 0 to 65535"),
        ("PERDURE_SYNC", "off", "normal, full"),
        ("PERDURE_BUSY", "drop", "queue, reject"),
        ("PERDURE_MAX_QUEUED", "-1", "from 1 to 100000"),
        ("LETTA_KEEPALIVE_INTERVAL", "nan", "seconds from 0.05"),
        ("PERDURE_RETENTION_HOURS", "1e99", "hours from 0"),
        ("PERDURE_TOOLS", "just_a_name", "my_package.tools:look_up"),
        ("PERDURE_MAX_BODY", "10 parsecs", "such as 67108864 or 64MiB"),
        ("ACCEPTABLE_ORIGINS", "example.com", "https://app.example.com"),
        ("PERDURE_LOG", "xml", "text, json"),
        ("PERDURE_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("LETTA_DEFAULT_LLM_HANDLE", "gpt-4o", "openai/gpt-4o"),
        ("PERDURE_INSECURE", "maybe", "1 or 0"),
        ("PERDURE_DATA", "~nobody-of-this-name/x", "home directory"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    message = refusal({variable: value})
    assert variable in message
    assert value in message
    assert allowed in message


def test_a_bad_flag_is_named_as_a_flag() -> None:
    assert refusal({}, sync="maybe").startswith("--sync is 'maybe'")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+pg8000", "POSTGRES"])
@pytest.mark.parametrize("source", ["PERDURE_DATABASE_URL", "LETTA_PG_URI", "--database-url"])
def test_a_database_is_named_in_any_form(source: str, scheme: str) -> None:
    url = f"{scheme}://ada:se%40cret@db.example:5433/perdure?ssl=require"
    settings = read_settings({}, database_url=url) if source == "--database-url" else read_settings({source: url})
    assert settings.postgres is not None
    assert settings.postgres.url == "postgresql://ada:se%40cret@db.example:5433/perdure?sslmode=require"


@pytest.mark.parametrize(
    "rest", ["/db", "a:b@h/db", "h1:1,h2:2/db?target_session_attrs=primary", "u@/db?host=/run/x", "[::1]:5432/db", "h"]
)
def test_all_that_libpq_knows_is_a_database_url(rest: str) -> None:
    settings = read_settings({"PERDURE_DATABASE_URL": f"postgresql://{rest}"})
    assert settings.database_url == f"postgresql://{rest}"


@pytest.mark.parametrize("rest", ["a:b/c@h/db", "a:b#c@h/db", "a:b?c@h:1/db", "h:port/db", "a b@h/db", "h/db/more"])
def test_a_database_url_that_would_be_misread_is_refused(rest: str) -> None:
    assert "%2F for /" in refusal({"PERDURE_DATABASE_URL": f"postgresql://{rest}"})


def test_without_a_database_url_it_is_sqlite() -> None:
    assert read_settings({"PERDURE_DATABASE_POOLER": "1"}).postgres is None
    assert read_settings({"LETTA_PG_URI": ""}).postgres is None


@pytest.mark.parametrize(
    ("url", "advice"),
    [("sqlite:///x.db", "--data"), ("mysql://x/y", "postgresql://user"), ("x.db", "postgresql://user")],
)
def test_another_database_url_is_refused(url: str, advice: str) -> None:
    message = refusal({}, database_url=url)
    assert advice in message
    assert message.startswith("--database-url will not do")


def test_a_database_url_is_never_repeated() -> None:
    assert "hush" not in refusal({"PERDURE_DATABASE_URL": "mysql://ada:hush@x/y"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "perdure.example"])
def test_others_are_let_in_only_with_a_password_or_on_purpose(host: str) -> None:
    message = refusal({}, host=host)
    assert "PERDURE_PASSWORD" in message
    assert "--insecure" in message
    assert read_settings({"PERDURE_PASSWORD": "x"}, host=host).host == host
    assert read_settings({"PERDURE_INSECURE": "1"}, host=host).host == host
    assert read_settings({}, host=host, insecure=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_needs_no_password(host: str) -> None:
    assert is_loopback(read_settings({}, host=host).host)


def test_a_password_keeps_its_spaces_and_is_never_repeated() -> None:
    assert read_settings({"PERDURE_PASSWORD": " a b "}).password == " a b "
    assert "hush" not in refusal({"PERDURE_PASSWORD": "hush", "PERDURE_PORT": "x"})


def row(setting: Setting) -> str:
    """How docs/configuration.md shows a setting."""
    variables = ", ".join(f"`{name}`" for name in setting.variables)
    flag = f"`{setting.flag}`" if setting.flag else ""
    default = f"`{setting.default}`" if setting.default else ""
    return f"| {variables} | {flag} | {default} | {setting.meaning} |"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_in_the_docs(setting: Setting) -> None:
    assert row(setting) in DOCS.read_text()


def test_every_provider_is_in_the_docs() -> None:
    rows = {line.split("|")[1].strip(): line for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    for provider in KNOWN_PROVIDERS:
        names = (*provider.key_names, *provider.url_names, *filter(None, [provider.handle_base_name]))
        shown = rows[f"`{provider.name}`"]
        assert [name for name in (*names, *provider.header_names.values()) if f"`{name}`" not in shown] == []
