from perdure.wire.generations import Generation, is_npm_v0, of_headers

PY0 = {"x-fern-language": "Python", "x-fern-sdk-version": "0.1.324"}
NPM0 = {"x-fern-language": "JavaScript", "x-fern-sdk-version": "0.1.211"}
V1 = {"x-stainless-package-version": "1.12.1"}


def test_each_sdk_is_known_by_its_headers() -> None:
    assert of_headers(PY0) is Generation.V0
    assert of_headers(NPM0) is Generation.V0
    assert of_headers(V1) is Generation.V1


def test_a_caller_who_does_not_say_is_taken_for_the_newest() -> None:
    assert of_headers({"user-agent": "letta-client/0.1.324"}) is Generation.V1


def test_the_newer_header_wins() -> None:
    assert of_headers({**PY0, **V1}) is Generation.V1


def test_only_the_old_npm_sdk_resends_whatever_it_is_told() -> None:
    assert is_npm_v0(NPM0)
    assert not is_npm_v0(PY0)
    assert not is_npm_v0({**NPM0, **V1})
