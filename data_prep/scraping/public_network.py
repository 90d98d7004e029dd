"""Connections that end at public addresses only, and in time.

A host is resolved once, every address found is checked, and the connection goes to the address that was checked, so
that DNS cannot answer differently between check and use. The name stays in the Host header, SNI and certificate check.
The guards on PyPI (httpx-secure, safehttpx) are asynchronous and leave out the deadline, so this stays our own.
"""

import ipaddress
import math
import socket
import time

import httpcore

LOCAL_NETWORKS = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
GLOBAL_UNICAST_V6 = ipaddress.ip_network("2000::/3")
# Protocol assignments, 6to4 and its relays, Teredo (in 2001::/23) and documentation: `is_global` of Python 3.11 lets
# some of them pass. IPv4-mapped and NAT64 (64:ff9b::) addresses lie outside 2000::/3.
NEVER_PUBLIC = [
    ipaddress.ip_network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
]


class FetchError(Exception):
    """Why an address was not taken. `retry`: "now" (it may pass), "later" (try in another run) or "never".

    status: of the HTTP answer that was refused; 0 where none was."""

    def __init__(self, reason: str, retry: str = "never", host: str = "", wait_s: float = 0.0, status: int = 0):
        super().__init__(reason)
        self.reason, self.retry, self.host, self.wait_s, self.status = reason, retry, host, wait_s, status


class UnsafeAddressError(FetchError):
    """The address is not http(s), carries a password or leads to a host that is not public."""


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses only and lets no connection outlive `deadline` (in time.monotonic())."""

    def __init__(self, allow_private: bool):
        self.allow_private = allow_private
        self.deadline = math.inf
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        """Raises UnsafeAddressError when any address of `host` may not be reached."""
        failure: Exception = httpcore.ConnectError("no address")
        for address in resolve(host, port, self.allow_private):
            try:
                stream = self._tcp.connect_tcp(address, port, self.cut(timeout), local_address, socket_options)
                return DeadlineStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def cut(self, timeout: float | None) -> float:
        """The timeout, shortened to what is left of the total. Raises ReadTimeout when nothing is."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("total time is up")
        return left if timeout is None else min(timeout, left)


class DeadlineStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: a server that drips header or body bytes cannot hold it open."""

    def __init__(self, stream: httpcore.NetworkStream, network: CheckedNetwork):
        self._stream, self._network = stream, network

    def read(self, max_bytes, timeout=None):
        return self._stream.read(max_bytes, self._network.cut(timeout))

    def write(self, buffer, timeout=None):
        self._stream.write(buffer, self._network.cut(timeout))

    def close(self):
        self._stream.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        secure = self._stream.start_tls(ssl_context, server_hostname, self._network.cut(timeout))
        return DeadlineStream(secure, self._network)

    def get_extra_info(self, info):
        return self._stream.get_extra_info(info)


def resolve(host: str, port: int, allow_private: bool) -> list[str]:
    """The addresses of a host, all of them allowed. Raises UnsafeAddressError if one is not, FetchError without any."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"name cannot be resolved: {host}: {error}", "now", host) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    for address in addresses:
        if not may_connect(address, allow_private):
            raise UnsafeAddressError(f"not a public address: {host} leads to {address}")
    return addresses


def may_connect(address: str, allow_private: bool = False) -> bool:
    """Whether an IP address may be reached. `allow_private` adds loopback and private networks, not link-local ones
    (cloud metadata), multicast, reserved or translated addresses."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if allow_private and (ip.is_loopback or any(ip in network for network in LOCAL_NETWORKS)):
        return True
    if any(ip in network for network in NEVER_PUBLIC) or (ip.version == 6 and ip not in GLOBAL_UNICAST_V6):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
