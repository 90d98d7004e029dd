"""The page as a whole: what it imports, and that script, style sheet and templates fit together."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "app" / "pages"
ID = re.compile(r"#((?:classify|tab|about)-[a-z]+)")


def test_the_page_needs_no_torch():
    code = "import sys, app.app; print(json.dumps([m for m in ('torch', 'datasets') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr


def test_script_and_style_sheet_name_ids_that_the_page_has():
    assets = "".join(path.read_text(encoding="utf-8") for path in (PAGES / "assets").glob("*.*s"))
    code = "".join(path.read_text(encoding="utf-8") for path in (*PAGES.glob("*.py"), PAGES.parent / "app.py"))
    ids = set(ID.findall(assets))
    assert ids and [name for name in ids if f'elem_id="{name}"' not in code] == []
