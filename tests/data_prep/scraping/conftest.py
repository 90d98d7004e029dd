"""Fixtures for the tests of data_prep.scrape: a local server, also reached as if it were public, and no long waits."""

import socket

import pytest

from data_prep import scrape
from data_prep.scraping import fetch
from tests.scrape_server import PUBLIC, start_site, stop_site


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF_S", 0.02)
    monkeypatch.setattr(scrape, "MIN_PUBLIC_DELAY_S", 0.005)


@pytest.fixture
def site():
    running = start_site()
    yield running
    stop_site(running)


@pytest.fixture
def public_site(site, monkeypatch):
    """The same server, reached as a public host: names resolve as `names` says, PUBLIC is the local server."""
    site.names = {"shop.test": [PUBLIC]}
    site.connected = []
    real_lookup, real_connect = socket.getaddrinfo, socket.create_connection

    def lookup(host, port, *args, **kwargs):
        if host not in site.names:
            return real_lookup(host, port, *args, **kwargs)
        found = site.names[host]
        found = found.pop(0) if isinstance(found[0], list) else found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def connect(address, *args, **kwargs):
        site.connected.append(address[0])
        return real_connect(("127.0.0.1", site.port) if address[0] == PUBLIC else address, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect)
    return site
