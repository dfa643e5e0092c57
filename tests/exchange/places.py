"""Where a paper exchange of a test is, in the words of the client."""

from exchange.config import Endpoints
from exchange.simulator.running import Simulator


def endpoints_of(venue: Simulator) -> Endpoints:
    return Endpoints(
        api_url=venue.rest.removesuffix("/v3"), stream_url=venue.stream.removesuffix("/v1")
    )
