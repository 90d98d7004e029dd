"""Where the addresses of images come from: a list, a web page, a search engine's result pages.

Beautiful Soup finds the elements and icrawler knows the search engines; no maintained package on PyPI parses a srcset,
so that is our own.
"""

import csv
import io
import queue
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote_plus, urljoin

from app.errors import UserError
from data_prep.pipeline.tables import SEPARATORS, find_encoding
from data_prep.scraping.fetch import Answer, Fetcher, opts_out
from data_prep.scraping.public_network import FetchError

ADDRESS_COLUMNS = ("url", "address", "image_url")
# Lazy pages keep the real image in data-*, and srcset offers larger ones than src.
AUTO_ATTRIBUTES = ("data-srcset", "srcset", "data-src", "src", "href")
MAX_PAGE_BYTES = 5_000_000
PROVIDERS = ("bing", "google", "baidu")


@dataclass(frozen=True)
class Candidate:
    """An address to look at. `problem`: why nothing can be taken from it, where that is known already."""

    address: str
    label: str = ""
    page: str = ""
    license: str = ""
    problem: str = ""


def read_list(path: Path) -> list[Candidate]:
    """Addresses of a text file (one per line, # for remarks) or of a CSV with a column url and, optionally, label and
    licence. Raises UserError for a file that is neither."""
    text = path.read_text(encoding=find_encoding(path))
    if "\0" in text:
        raise UserError(f"{path} is not a list of addresses: it has NUL bytes; save it as text or as a CSV")
    header = next(csv.reader([text.split("\n", 1)[0]], delimiter=find_delimiter(text)), [])
    columns = [name.strip().lower() for name in header]
    column = next((name for name in ADDRESS_COLUMNS if name in columns), None)
    if column:
        return read_table(path, text, columns, column)
    if path.suffix.lower() in (".csv", ".tsv"):
        raise UserError(f"{path} has no column {' or '.join(ADDRESS_COLUMNS)}; its first line is {header}")
    lines = (line.strip() for line in text.splitlines())
    return [Candidate(line) for line in lines if line and not line.startswith("#")]


def read_table(path: Path, text: str, columns: list[str], column: str) -> list[Candidate]:
    """The rows of a CSV whose first line names `columns`; rows without an address are left out."""
    names = (column, "label", "page", "licence")
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), columns, restval="", delimiter=find_delimiter(text))
        next(rows, None)
        candidates = [Candidate(*((row.get(name) or "").strip() for name in names)) for row in rows]
    except csv.Error as error:
        raise UserError(f"{path} is not a readable CSV: {error}") from error
    return [candidate for candidate in candidates if candidate.address]


def find_delimiter(text: str) -> str:
    """The separator of the first line; spreadsheets write semicolons or tabs in some countries."""
    return max(SEPARATORS, key=text.split("\n", 1)[0].count)


def read_page(answer: Answer, selector: str, attribute: str) -> Iterator[Candidate]:
    """Addresses in `attribute` ("auto": the best of AUTO_ATTRIBUTES) of the elements that a CSS selector names."""
    from bs4 import BeautifulSoup  # imported late, and with lxml: html.parser takes minutes for hostile pages

    soup = BeautifulSoup(answer.body, "lxml", from_encoding=charset(answer.headers.get("content-type", "")))
    robots = " ".join(str(tag.get("content")) for tag in soup.select("meta[name=robots i]"))
    if opts_out(robots):
        yield Candidate(answer.url, problem="owner does not allow machine learning: meta robots")
        return
    base_tag, license_tag = soup.select_one("base[href]"), soup.select_one("[rel~=license][href]")
    base = absolute(answer.url, base_tag["href"]) if base_tag else answer.url
    license = absolute(base, license_tag["href"]) if license_tag else ""
    elements = soup.select(selector)
    if not elements:
        yield Candidate(answer.url, problem=f"no element matches: {selector!r}")
    for element in elements:
        address = find_address(element, attribute)
        if address:
            yield Candidate(absolute(base, address), page=answer.url, license=license)
        else:
            yield Candidate(answer.url, problem=f"element without an address: <{element.name}> in {attribute!r}")


def check_selector(selector: str) -> None:
    """Raises UserError for a selector that is not CSS."""
    import soupsieve

    try:
        soupsieve.compile(selector)
    except soupsieve.SelectorSyntaxError as error:
        reason = str(error).splitlines()[0]
        example = "an example: 'li.product img'"
        raise UserError(f"--selector {selector!r} is not a CSS selector: {reason}; {example}") from error


def charset(content_type: str) -> str | None:
    """The encoding that a Content-Type header states."""
    match = re.search(r"charset=[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    return match.group(1) if match else None


def find_address(element, attribute: str) -> str:
    """The address in an element's attribute; in a srcset, the largest image. Empty when there is none."""
    for name in AUTO_ATTRIBUTES if attribute == "auto" else (attribute,):
        value = str(element.get(name) or "").strip()
        if name.endswith("srcset"):
            value = largest_of(value)
        if value and not value.lower().startswith("data:"):
            return value
    return ""


def largest_of(srcset: str) -> str:
    """The candidate with the largest descriptor: "a.jpg 400w, b.jpg 800w" or "a.jpg, b.jpg 2x"."""
    best, best_size, words = "", -1.0, srcset.split()
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if re.fullmatch(r"[\d.]+[wxh],?", word):
            continue
        stated = re.fullmatch(r"(\d+\.?\d*)[wx],?", after)
        size = float(stated.group(1)) if stated and not word.endswith(",") else 1.0
        if size > best_size:
            best, best_size = word.rstrip(","), size
    return best


def absolute(base: str, address: str) -> str:
    """`address` as seen from the page; one that cannot be joined stays as it is and is refused later."""
    try:
        return urljoin(base, address.strip())
    except ValueError:
        return address


def search(query: str, provider: str, count: int, fetcher: Fetcher) -> Iterator[Candidate]:
    """Addresses from a search engine: icrawler makes the addresses of the result pages and reads the pages; `fetcher`
    gets them. An engine whose robots.txt forbids its result pages is obeyed: the refusal becomes a problem."""
    feeder, parser = load_provider(provider)
    feeder.out_queue = queue.SimpleQueue()  # icrawler's own blocks after five entries
    feeder.feed(keyword=query if provider == "google" else quote_plus(query), offset=0, max_num=count)
    sent = 0
    while not feeder.out_queue.empty() and sent < count:
        page = feeder.out_queue.get()
        try:
            tasks = list(parser.parse(SimpleNamespace(content=fetcher.get(page, MAX_PAGE_BYTES).body)) or [])
        except FetchError as error:
            yield Candidate(page, problem=error.reason)
            return
        except Exception as error:  # icrawler's parsers trip over any change of the engine's pages
            yield Candidate(page, problem=f"result page that icrawler cannot read: {type(error).__name__}: {error}")
            return
        if not tasks:
            yield Candidate(page, problem="result page in which icrawler finds nothing: engines change them often")
            return
        for task in tasks[: count - sent]:
            yield Candidate(task["file_url"], page=page)
        sent += len(tasks)


def load_provider(provider: str):
    """icrawler's feeder and parser of a search engine, without its threads, session or downloader."""
    try:
        from icrawler.builtin import baidu, bing, google
    except ImportError as error:
        raise UserError(f"--search needs icrawler ({error}): pip install icrawler") from error
    feeder, parser = {
        "bing": (bing.BingFeeder, bing.BingParser),
        "google": (google.GoogleFeeder, google.GoogleParser),
        "baidu": (baidu.BaiduFeeder, baidu.BaiduParser),
    }[provider]
    return feeder(1, None, None), parser(1, None, None)
