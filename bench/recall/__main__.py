"""`python -m bench.recall`: the share of evidence turns among the first ten, through a real server's own endpoints."""

from bench.place import server
from bench.recall import baselines
from bench.recall.conversations import FIRST_HALF, SECOND_HALF, read, recall
from bench.recall.doors import LIMIT, Doors, Way, nameless, said, with_day
from tests.rig.model import ModelServer


def measure(environment: dict[str, str]) -> None:
    """Print the figures of both halves of the conversations, beside one another."""
    models = ModelServer().start()
    with server({**environment, **models.environment}) as served:
        halves = [[read(name) for name in half] for half in (FIRST_HALF, SECOND_HALF)]
        for name, way in ways(Doors(served.url, models.script())).items():
            shares = [[recall(each, way(each)) for each in half] for half in halves]
            print(f"{name:36}", *(f"{sum(share) / len(share):7.1%}" for share in shares), flush=True)
    models.stop()


def ways(doors: Doors) -> dict[str, Way]:
    """All that is measured, by what it is called."""
    return {
        "plain BM25": lambda each: baselines.plain(each, LIMIT),
        "plain BM25 with neighbours": lambda each: baselines.neighbours(each, LIMIT),
        "passages": doors.passages(),
        "passages without dates": doors.passages(dated=False),
        "passages, the day in their text": doors.passages(with_day, dated=False),
        'passages, On ..., Anna said, "..."': doors.passages(said, dated=False),
        "passages without names": doors.passages(nameless),
        "messages, imported": doors.imported(),
        "messages, imported without names": doors.imported(nameless),
        "messages, each answered OK": doors.sent(),
        "messages, each echoed": doors.sent(echoed=True),
        "messages, ten a request": doors.sent(several=10),
        "messages, the model searches": doors.sent(asked=True),
    }


if __name__ == "__main__":
    measure({})
