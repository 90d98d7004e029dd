"""The scraper reaches public addresses only, whatever names, redirects and proxies say."""

import shutil
import ssl
import subprocess

import pytest

from data_prep.scraping.public_network import may_connect
from tests.scrape_runs import image, images, reasons, rows, run_list
from tests.scrape_server import PUBLIC, hang_up_after

NOT_PUBLIC = """
    0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1
    224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0
    fec0::1 ff02::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_only_public_addresses_may_be_reached(address):
    assert not may_connect(address)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_may_be_reached(address):
    assert may_connect(address)


def test_allow_private_opens_localhost_and_lans_but_not_cloud_metadata():
    assert may_connect("127.0.0.1", True) and may_connect("::1", True) and may_connect("192.168.0.1", True)
    assert not any(may_connect(ip, True) for ip in ("169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"))


def test_localhost_in_any_spelling_is_refused_without_being_asked(site, tmp_path):
    port = site.port
    urls = [f"http://{host}:{port}/a.png" for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1")]
    urls += [f"http://[::ffff:127.0.0.1]:{port}/a.png", f"http://[::1]:{port}/a.png", f"http://0:{port}/a.png"]
    run_list(tmp_path / "out", urls, private=False)
    assert site.visits == [] and len(rows(tmp_path / "out" / "rejected.csv")) == len(urls)
    assert all(row["reason"].startswith("not a public address") for row in rows(tmp_path / "out" / "rejected.csv"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://shop.test/a.png", "not an http(s) address: ftp"),
        ("file:///etc/passwd", "not an http(s) address: file"),
        ("shop.test/a.png", "not an http(s) address: no scheme"),
        ("http://user:secret@shop.test/a.png", "address with a user name or password"),
        ("http:///a.png", "address without a host"),
        ("http://shop.test:0/a.png", "not a host and port"),
        ("http://[bad/a.png", "not a"),
        ("http://shop.test:99999/a.png", "not a host and port"),
        ("http://shop .test/a.png", "not a host and port"),
        ("data:image/png;base64," + "A" * 9_000, "address too long"),
    ],
)
def test_addresses_that_are_not_plain_web_addresses_are_refused(public_site, tmp_path, address, reason):
    run_list(tmp_path / "out", [address], private=False)
    (row,) = rows(tmp_path / "out" / "rejected.csv")
    assert row["reason"].startswith(reason) and len(row["file"]) < 400 and public_site.connected == []


def test_a_redirect_into_the_private_network_is_refused_unless_allowed(public_site, tmp_path):
    public_site.put("/secret.png", image(1))
    public_site.put("/jump.png", status=302, Location=f"{public_site.url}/secret.png")
    run_list(tmp_path / "out", ["http://shop.test/jump.png"], private=False)
    assert reasons(tmp_path / "out")["/jump.png"].startswith("not a public address: 127.0.0.1")
    assert "/secret.png" not in public_site.asked() and set(public_site.connected) == {PUBLIC}
    run_list(tmp_path / "allowed", ["http://shop.test/jump.png"])
    assert len(images(tmp_path / "allowed")) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://u:p@shop.test/", "//[bad", "ftp://shop.test/a"])
def test_a_redirect_to_something_else_than_a_web_page_is_refused(public_site, tmp_path, target):
    public_site.put("/jump.png", status=301, Location=target)
    run_list(tmp_path / "out", ["http://shop.test/jump.png"], private=False)
    assert reasons(tmp_path / "out")["/jump.png"].startswith("redirected to a refused address")


def test_a_redirect_loop_ends(site, tmp_path):
    run_list(tmp_path / "out", [site.put("/a.png", status=307, Location="/a.png")], "--redirects", "3")
    assert reasons(tmp_path / "out")["/a.png"].startswith("more than 3 redirects") and len(site.asked()) == 4


def test_the_connection_goes_to_the_address_that_was_checked(public_site, tmp_path):
    """DNS rebinding: the second answer for the same name is private; it must be refused, never connected to."""
    public_site.put("/robots.txt", "", Connection="close")
    public_site.pages["/robots.txt"] = hang_up_after(public_site.pages["/robots.txt"])
    public_site.put("/a.png", image(1))
    public_site.names["shop.test"] = [[PUBLIC], ["127.0.0.1"]]
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert public_site.connected == [PUBLIC] and public_site.asked() == []
    assert reasons(tmp_path / "out")["/a.png"].startswith("not a public address")
    public_site.names["shop.test"] = [PUBLIC]
    run_list(tmp_path / "again", ["http://shop.test/a.png"], private=False)
    assert public_site.visits[-1][2]["Host"] == "shop.test" and len(images(tmp_path / "again")) == 1


def test_a_name_with_one_private_address_among_public_ones_is_refused(public_site, tmp_path):
    public_site.names["shop.test"] = [PUBLIC, "10.0.0.7"]
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert public_site.connected == [] and "10.0.0.7" in reasons(tmp_path / "out")["/a.png"]


def test_proxies_of_the_environment_are_not_used(public_site, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    public_site.put("/a.png", image(1))
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert set(public_site.connected) == {PUBLIC} and len(images(tmp_path / "out")) == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_https_checks_the_certificate_against_the_name_although_the_address_is_pinned(
    public_site, tmp_path, monkeypatch
):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-keyout", key, "-out", certificate, "-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked_names = []
    context.sni_callback = lambda _, name, __: asked_names.append(name)
    public_site.server.socket = context.wrap_socket(public_site.server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    public_site.names["other.test"] = [PUBLIC]
    public_site.put("/a.png", image(1))
    run_list(tmp_path / "out", ["https://shop.test/a.png", "https://other.test/a.png"], private=False)
    assert len(images(tmp_path / "out")) == 1 and set(asked_names) == {"shop.test", "other.test"}
    assert rows(tmp_path / "out" / "rejected.csv")[0]["reason"].startswith("no secure connection: other.test")
