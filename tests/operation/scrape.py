"""What a scraper reads of a server."""

from prometheus_client.parser import text_string_to_metric_families

from tests.rig.server import Server

Sample = tuple[str, frozenset[tuple[str, str]]]


class Scrape:
    """The samples of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.samples: dict[Sample, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one series; 0 where there is none yet."""
        return self.samples.get((f"perdure_{name}", frozenset(labels.items())), 0.0)

    @property
    def labels(self) -> set[str]:
        """Every value of every label."""
        return {value for _, labels in self.samples for _, value in labels}


def scrape(server: Server) -> Scrape:
    reply = server.get("/metrics")
    assert reply.status == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain")
    return Scrape(reply.text)
