"""Collect images for thin classes from the web, politely and safely, into a folder that data_prep.image_folder reads.

python -m data_prep.scrape --urls addresses.txt --label Sandals --output data/scraped
python -m data_prep.scrape --urls addresses.csv --output data/scraped        (columns url, label and licence)
python -m data_prep.scrape --page https://shop.example/sandals --selector "li.product img" --label Sandals \
    --output data/scraped --contact you@example.com
python -m data_prep.scrape --search "red sandals" --provider bing --label Sandals --output data/scraped
python -m data_prep.image_folder --input data/scraped --output data/scraped_dataset

Images become OUTPUT/<label>/<start of sha256>.<type>; sources.csv tells where each came from, rejected.csv what was
not taken and why. The same command goes on where it was stopped: addresses in sources.csv are not asked for again.
Whether you may use an image is yours to decide: robots.txt and opt-outs are obeyed, licences are only recorded.
Most search engines forbid programs on their result pages; --search obeys them and then says so. A contact lets a
site's owner write to you instead of blocking you. 400 photographs (256 px) of a local server with --delay 0: 400 saved,
1.9 s on one core; on the web the pause of a second between two requests to a host sets the pace.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from tqdm import tqdm

from app.errors import UserError
from data_prep.pipeline import splits
from data_prep.pipeline.build import label_problem
from data_prep.pipeline.command import clear_errors, command_parser
from data_prep.pipeline.images import SUFFIXES, check_image

try:
    from data_prep.scraping.addresses import (
        MAX_PAGE_BYTES,
        PROVIDERS,
        Candidate,
        check_selector,
        load_provider,
        read_list,
        read_page,
        search,
    )
    from data_prep.scraping.collection import Collection
    from data_prep.scraping.fetch import Fetcher, Limits, parse_address
    from data_prep.scraping.public_network import FetchError
except ImportError as error:
    raise SystemExit(f"data_prep.scrape needs packages ({error}): pip install -e '.[scrape]'") from None

MIN_PUBLIC_DELAY_S = 0.2


@dataclass(frozen=True, slots=True)
class ScrapeOptions:
    """What the command line asks for, apart from the HTTP client's Limits. One of urls, page and search is given."""

    output: Path
    label: str
    urls: Path | None
    page: list[str] | None
    selector: str | None
    attribute: str
    search: str | None
    provider: str
    license: str
    contact: str
    max_images: int
    min_side: int
    retry_rejected: bool
    allow_private: bool


def main(argv: list[str] | None = None) -> None:
    """Check the command line, take the images, say what was done."""
    parser = make_parser()
    args = parser.parse_args(argv)
    options = ScrapeOptions(**{field.name: getattr(args, field.name) for field in fields(ScrapeOptions)})
    limits = Limits(*args.timeouts, args.max_bytes, args.redirects, args.retries, args.delay)
    with clear_errors(parser):
        check_options(options, limits)
        with closing(Fetcher(limits, options.contact, options.allow_private)) as fetcher:
            candidates = find_candidates(options, fetcher)
            with Collection(options.output) as collection:
                outcomes = collect(candidates, fetcher, collection, options)
        print_summary(outcomes, collection)
    if not collection.files:
        cure = "; search engines may forbid programs, so give addresses with --urls" if options.search else ""
        parser.exit(1, f"{parser.prog}: no image was taken; {collection.rejected_path} says why{cure}\n")


# --- the command line ------------------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser("data_prep.scrape", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--urls", type=Path, metavar="FILE", help="one address per line, or CSV: url, label, licence")
    source.add_argument("--page", nargs="+", metavar="URL", help="web pages that show the images; needs --selector")
    source.add_argument("--search", metavar="WORDS", help="words for a search engine (needs icrawler)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder with one folder per label")
    parser.add_argument("--label", default="", help="class of the images; rows of a CSV may name their own")
    parser.add_argument("--selector", metavar="CSS", help='elements of --page, such as "li.product img"')
    parser.add_argument("--attribute", default="auto", metavar="NAME", help="of these elements: src, srcset, href, ...")
    parser.add_argument("--provider", choices=PROVIDERS, default="bing", help="of --search (default: bing)")
    parser.add_argument(
        "--license", "--licence", default="", metavar="TEXT", help="noted in sources.csv where none is stated"
    )
    parser.add_argument("--contact", default="", metavar="TEXT", help="e-mail or web address shown to site owners")
    parser.add_argument("--max_images", type=whole, default=0, metavar="N", help="stop when a label has N images")
    parser.add_argument("--min_side", type=whole, default=32, metavar="PX", help="smaller images are left out (32)")
    parser.add_argument("--retry_rejected", action="store_true", help="ask again for what rejected.csv calls final")
    politeness = parser.add_argument_group("politeness and limits")
    politeness.add_argument("--delay", type=seconds, default=1.0, metavar="S", help="between requests to a host (1)")
    politeness.add_argument(
        "--retries", type=whole, default=3, metavar="N", help="after 429, 5xx and broken connections (3)"
    )
    politeness.add_argument("--redirects", type=whole, default=5, metavar="N", help="followed per request (5)")
    politeness.add_argument("--max_bytes", type=whole, default=20_000_000, metavar="N", help="of an image (20,000,000)")
    politeness.add_argument(
        "--timeouts",
        type=seconds,
        nargs=3,
        default=(10.0, 15.0, 60.0),
        metavar=("CONNECT", "READ", "TOTAL"),
        help="in seconds (10 15 60)",
    )
    politeness.add_argument(
        "--allow_private", action="store_true", help="also localhost and private networks; for tests"
    )
    return parser


def whole(text: str) -> int:
    """A number of something."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def seconds(text: str) -> float:
    """A duration."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of at least 0")
    return value


def check_options(options: ScrapeOptions, limits: Limits) -> None:
    """Raises UserError for options that do not go together."""
    if bool(options.page) != bool(options.selector):
        raise UserError("--page and --selector need each other; an example: --selector 'li.product img'")
    if options.selector:
        check_selector(options.selector)
    if not options.label and not options.urls:
        raise UserError("give the class of the images with --label NAME")
    problem = folder_problem(options.label) if options.label else ""
    if problem:
        raise UserError(f"--label: {problem}")
    if limits.delay_s < MIN_PUBLIC_DELAY_S and not options.allow_private:
        raise UserError(f"--delay {limits.delay_s:g} is impolite; at least {MIN_PUBLIC_DELAY_S:g} s, better 1 s")
    if not options.contact.isascii() or not options.contact.isprintable():
        raise UserError(f"--contact {options.contact!r} must be plain ASCII, such as you@example.com")
    if options.output.exists() and not options.output.is_dir():
        raise UserError(f"--output {options.output} is a file; give a folder")


def folder_problem(label: str) -> str:
    """Why a label cannot be the name of a class folder, or an empty string."""
    if not label:
        return "no label; give --label or fill the column label"
    if label.startswith(".") or label != label.strip():
        return f"label {label!r} starts with a dot or has blanks around it"
    if label.lower() in splits.SPLITS:
        return f"label {label!r} would be read as a split, not as a class"
    if "/" in label or "\\" in label:
        return f"label with a path separator: {label!r}"
    return label_problem(label)


# --- taking images -------------------------------------------------------------------------------------------------


def find_candidates(options: ScrapeOptions, fetcher: Fetcher) -> Iterable[Candidate]:
    """The addresses that the command line asks for. Raises UserError, before any work, for a list without any."""
    if options.urls:
        listed = read_list(options.urls)
        if not listed:
            raise UserError(f"--urls {options.urls} holds no address")
        if not options.label and not any(candidate.label for candidate in listed):
            raise UserError("no address has a label; give --label NAME or a CSV with a column label")
        return listed
    if options.search:
        load_provider(options.provider)
        return search(options.search, options.provider, options.max_images or 100, fetcher)
    return candidates_of_pages(options.page, options.selector, options.attribute, fetcher)


def candidates_of_pages(pages: list[str], selector: str, attribute: str, fetcher: Fetcher) -> Iterator[Candidate]:
    for page in pages:
        try:
            answer = fetcher.get(page, MAX_PAGE_BYTES)
        except FetchError as error:
            yield Candidate(page, problem=error.reason)
        else:
            yield from read_page(answer, selector, attribute)


def collect(
    candidates: Iterable[Candidate], fetcher: Fetcher, collection: Collection, options: ScrapeOptions
) -> Counter:
    """Take what can be taken; counts of saved, duplicate, known, rejected and not needed addresses."""
    outcomes = Counter()
    for candidate in tqdm(candidates, unit=" addresses", disable=None):
        label = candidate.label or options.label
        problem = candidate.problem or folder_problem(label)
        if options.max_images and collection.counts[label] >= options.max_images:
            outcomes["not needed"] += 1
        elif problem:
            outcomes[collection.reject(candidate.address, problem, final=False)] += 1
        else:
            outcomes[take(candidate, label, fetcher, collection, options)] += 1
    return outcomes


def take(candidate: Candidate, label: str, fetcher: Fetcher, collection: Collection, options: ScrapeOptions) -> str:
    """Fetch, check and save one image, or note why not; returns the outcome in a word."""
    address = candidate.address
    try:
        address = str(parse_address(address))
        if collection.knows(address, options.retry_rejected):
            return "known"
        data = fetcher.get(address).body
        suffix = check_download(data, options.min_side)
    except FetchError as error:
        return collection.reject(address, error.reason, final=error.retry == "never")
    return collection.save(address, candidate, label, candidate.license or options.license, data, suffix)


def check_download(data: bytes, min_side: int) -> str:
    """The file suffix of a sound image, by its content. Raises FetchError with the reason for anything else."""
    facts = check_image(data)
    if facts.reason:
        raise FetchError(facts.reason)
    if min(facts.width, facts.height) < min_side:
        raise FetchError(f"too small: {facts.width}x{facts.height} pixels, --min_side is {min_side}")
    if facts.is_blank:
        raise FetchError("blank: one flat colour")
    return SUFFIXES.get(facts.format, f".{facts.format.lower()}")


def print_summary(outcomes: Counter, collection: Collection) -> None:
    """What this run did, and what the folder holds."""
    print(", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common()) or "no addresses")
    for label, count in sorted(collection.counts.items()):
        print(f"  {label}: {count:,} images")
    if outcomes["rejected"]:
        print(f"  not taken ({collection.rejected_path}):")
        for reason, count in collection.reasons.most_common(8):
            print(f"    {count:,} {reason}")


if __name__ == "__main__":
    main()
