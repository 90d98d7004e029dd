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
1.9 s of one core; on the web the pause of a second between two requests to a host decides.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from data_prep.pipeline import splits
from data_prep.pipeline.build import label_problem
from data_prep.pipeline.command import clear_errors
from data_prep.pipeline.images import ImageFacts, check_image
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

SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
}
MIN_PUBLIC_DELAY_S = 0.2


def main(argv: list[str] | None = None) -> None:
    """Check the command line, take the images, say what was done."""
    parser = make_parser()
    args = parser.parse_args(argv)
    with clear_errors(parser):
        check_options(args)
        with closing(Fetcher(make_limits(args), args.contact, args.allow_private)) as fetcher:
            candidates = find_candidates(args, fetcher)
            with Collection(args.output) as collection:
                done = collect(candidates, fetcher, collection, args)
        print_summary(done, collection)
    if not collection.files:
        cure = "; search engines forbid programs as they please, so give addresses with --urls" if args.search else ""
        parser.exit(1, f"{parser.prog}: no image was taken; {collection.rejected_path} says why{cure}\n")


# --- the command line ------------------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.scrape", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--urls", type=Path, metavar="FILE", help="one address a line, or CSV: url, label, licence")
    source.add_argument("--page", nargs="+", metavar="URL", help="web pages that show the images; needs --selector")
    source.add_argument("--search", metavar="WORDS", help="words for a search engine (needs icrawler)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder with one folder a label")
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
    polite = parser.add_argument_group("politeness and limits")
    polite.add_argument("--delay", type=seconds, default=1.0, metavar="S", help="between requests to a host (1)")
    polite.add_argument(
        "--retries", type=whole, default=3, metavar="N", help="after 429, 5xx and broken connections (3)"
    )
    polite.add_argument("--redirects", type=whole, default=5, metavar="N", help="followed a request (5)")
    polite.add_argument("--max_bytes", type=whole, default=20_000_000, metavar="N", help="of an image (20,000,000)")
    polite.add_argument(
        "--timeouts",
        type=seconds,
        nargs=3,
        default=(10.0, 15.0, 60.0),
        metavar=("CONNECT", "READ", "TOTAL"),
        help="in seconds (10 15 60)",
    )
    polite.add_argument("--allow_private", action="store_true", help="also localhost and private networks; for tests")
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


def check_options(args: argparse.Namespace) -> None:
    """Raises ValueError for options that do not go together."""
    if bool(args.page) != bool(args.selector):
        raise ValueError("--page and --selector need each other; an example: --selector 'li.product img'")
    if args.selector:
        check_selector(args.selector)
    if not args.label and not args.urls:
        raise ValueError("give the class of the images with --label NAME")
    problem = folder_problem(args.label) if args.label else ""
    if problem:
        raise ValueError(f"--label: {problem}")
    if args.delay < MIN_PUBLIC_DELAY_S and not args.allow_private:
        raise ValueError(f"--delay {args.delay:g} is impolite; at least {MIN_PUBLIC_DELAY_S:g} s, better 1 s")
    if not args.contact.isascii() or not args.contact.isprintable():
        raise ValueError(f"--contact {args.contact!r} must be plain ASCII, such as you@example.com")
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output {args.output} is a file; give a folder")


def make_limits(args: argparse.Namespace) -> Limits:
    connect, read, total = args.timeouts
    return Limits(connect, read, total, args.max_bytes, args.redirects, args.retries, args.delay)


def folder_problem(label: str) -> str:
    """Why a label cannot be the name of a class folder, or an empty string."""
    if not label:
        return "no label; give --label or fill the column label"
    if label.startswith(".") or label != label.strip():
        return f"label {label!r} starts with a dot or has blanks around it"
    if label.lower() in splits.SPLITS:
        return f"label {label!r} would be read as a split, not as a class"
    return label_problem(label)


# --- taking images -------------------------------------------------------------------------------------------------


def find_candidates(args: argparse.Namespace, fetcher: Fetcher) -> Iterable[Candidate]:
    """The addresses that the command line asks for. Raises ValueError, before any work, for a list that is no list."""
    if args.urls:
        listed = read_list(args.urls)
        if not listed:
            raise ValueError(f"--urls {args.urls} holds no address")
        if not args.label and not any(candidate.label for candidate in listed):
            raise ValueError("no address has a label; give --label NAME or a CSV with a column label")
        return listed
    if args.search:
        load_provider(args.provider)
        return search(args.search, args.provider, args.max_images or 100, fetcher)
    return candidates_of_pages(args.page, args.selector, args.attribute, fetcher)


def candidates_of_pages(pages: list[str], selector: str, attribute: str, fetcher: Fetcher) -> Iterator[Candidate]:
    for page in pages:
        try:
            answer = fetcher.get(page, MAX_PAGE_BYTES)
        except FetchError as error:
            yield Candidate(page, problem=error.reason)
        else:
            yield from read_page(answer, selector, attribute)


def collect(
    candidates: Iterable[Candidate], fetcher: Fetcher, collection: Collection, args: argparse.Namespace
) -> Counter:
    """Take what can be taken; counts of saved, duplicate, known and rejected addresses."""
    done = Counter()
    for candidate in tqdm(candidates, unit=" addresses", disable=None):
        label = candidate.label or args.label
        if args.max_images and collection.counts[label] >= args.max_images:
            done["not needed"] += 1
            continue
        problem = candidate.problem or folder_problem(label)
        if problem:
            done[collection.reject(candidate.address, problem, final=False)] += 1
        else:
            done[take(candidate, label, fetcher, collection, args)] += 1
    return done


def take(candidate: Candidate, label: str, fetcher: Fetcher, collection: Collection, args: argparse.Namespace) -> str:
    """Fetch, check and save one image, or note why not."""
    address = candidate.address
    try:
        address = str(parse_address(address))
        if collection.knows(address, args.retry_rejected):
            return "known"
        data = fetcher.get(address).body
        suffix = check_download(data, args.min_side)
    except FetchError as error:
        return collection.reject(address, error.reason, final=error.retry == "never")
    except ValueError as error:
        return collection.reject(address, str(error), final=True)
    return collection.save(address, candidate, label, candidate.license or args.license, data, suffix)


def check_download(data: bytes, min_side: int) -> str:
    """The file suffix of a sound image, by its content. Raises ValueError with the reason for anything else."""
    facts: ImageFacts = check_image(data)
    if facts.reason:
        raise ValueError(facts.reason)
    if min(facts.width, facts.height) < min_side:
        raise ValueError(f"too small: {facts.width}x{facts.height} pixels, --min_side is {min_side}")
    if facts.is_blank:
        raise ValueError("blank: one flat colour")
    return SUFFIXES.get(facts.format, f".{facts.format.lower()}")


def print_summary(done: Counter, collection: Collection) -> None:
    """What this run did, and what the folder holds."""
    print(", ".join(f"{count:,} {what}" for what, count in done.most_common()) or "no addresses")
    for label, count in sorted(collection.counts.items()):
        print(f"  {label}: {count:,} images")
    if done["rejected"]:
        print(f"  not taken ({collection.rejected_path}):")
        for reason, count in collection.reasons.most_common(8):
            print(f"    {count:,} {reason}")


if __name__ == "__main__":
    main()
