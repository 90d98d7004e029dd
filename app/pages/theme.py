"""How the page looks: the theme's colors, and the style sheet and script of assets/."""

from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parent / "assets"
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # nothing to download
MONOSPACE_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def page_options() -> dict[str, Any]:
    """What launch() and mount_gradio_app() need to know about the page's look."""
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "page.css"],
        "head": f'<meta name="color-scheme" content="light dark"><script>{script}</script>',
    }


def theme() -> gr.themes.Base:
    look = gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=SYSTEM_FONTS,
        font_mono=MONOSPACE_FONTS,
    )
    return look.set(
        body_background_fill="*neutral_50",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
    )
