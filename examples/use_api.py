"""Call a running page from another program: one image, many, and a screenshot.

python -m app.server &
python examples/use_api.py --page http://127.0.0.1:7860
"""

import argparse
from pathlib import Path

from gradio_client import Client, handle_file

EXAMPLES = Path(__file__).resolve().parents[1] / "app" / "examples"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="use_api.py", description=__doc__.splitlines()[0])
    parser.add_argument("--page", default="http://127.0.0.1:7860", help="address of the page, or USER/NAME of a Space")
    client = Client(parser.parse_args(argv).page, verbose=False)

    shirt, shoes = (handle_file(EXAMPLES / name) for name in ("tshirts.jpg", "casual_shoes.jpg"))
    answer = client.predict(image=shirt, api_name="/classify")
    print(answer["status"], " > ".join(answer["category_path"]), answer["confidence"])

    for row in client.predict(files=[shirt, shoes], top_k=3, api_name="/classify_batch"):
        print(row["file"], row["status"], [best["label"] for best in row["top_k"]])

    page = client.predict(image=handle_file(EXAMPLES / "screenshot.jpg"), api_name="/find_products")
    for product in page["products"]:
        print(product["box"], product["top_k"][0]["label"])


if __name__ == "__main__":
    main()
