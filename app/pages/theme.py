"""How the page looks: the theme's colors, and the style sheets and scripts of assets/."""

from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parent / "assets"
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # nothing to download
MONOSPACE_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

EDGE, EDGE_DARK = "#7c8aa0", "#7d8ba1"  # of controls, 3:1 on their ground; page.css has them as --edge


def page_options() -> dict[str, Any]:
    """What launch() and mount_gradio_app() need to know about the page's look."""
    paths = [*sorted(ASSETS.glob("vendor/*.js")), *sorted(ASSETS.glob("*.js"))]
    scripts = [path.read_text(encoding="utf-8") for path in paths]
    return {
        "theme": theme(),
        "css_paths": sorted(ASSETS.glob("*.css")),
        "head": '<meta name="color-scheme" content="light dark">' + "".join(map("<script>{}</script>".format, scripts)),
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
        input_border_color=EDGE,
        input_border_color_dark=EDGE_DARK,
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )
