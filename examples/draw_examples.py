"""Draw the example images: made-up products on white, each named after its label in the shipped model.

    python examples/draw_examples.py

rewrites every image of examples/, byte for byte the same (1.5 s of CPU time; Pillow and NumPy are all it needs).
No photograph, font or logo is in them. They are Apache-2.0 like this script; take them as CC0 where that suits better.
A progressive and a rotated JPEG, a WebP and a transparent PNG are among them, to show what predict.py can read.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from brushes import (
    WIDTH,
    Drawing,
    Points,
    X,
    Y,
    across,
    blur,
    box,
    cloth,
    ellipse,
    fill,
    mirrored,
    mixed,
    moved,
    noise,
    on_side,
    outline,
    relief,
    stroke,
    tube,
    without,
)

FOLDER = Path(__file__).resolve().parent
ORIENTATION_TAG, TURN_CLOCKWISE = 0x0112, 6  # in EXIF


def tshirts(drawing: Drawing) -> None:
    inside = fill(mirrored("M 240 112 Q 270 112 292 104 Q 290 160 240 168"))
    drawing.paint(inside, "#8f1d22", relief(inside, 6))
    body = fill(
        mirrored(
            "M 240 166 Q 282 160 292 104 Q 345 122 376 138 C 414 176 440 226 456 288 Q 424 316 384 322"
            " Q 372 286 358 252 C 352 340 358 460 362 540 Q 300 556 240 556"
        )
    )
    drawing.paint(body, "#d2353a", cloth(body, 0.12, 3))
    for side in (1, -1):
        crease = on_side([(358, 250), (350, 220), (358, 150)], side)
        drawing.shade(blur(stroke(crease, 3), 2) * body, 0.4)
        hem = on_side("M 451 276 Q 416 303 380 310", side)
        drawing.paint(stroke(hem, 1.2, 3), "#8f1d22")
    collar = stroke(mirrored("M 288 108 Q 278 158 240 166")[:-1], 9)
    drawing.paint(collar, "#b8292f", relief(collar, 2, 0.8))
    drawing.paint(stroke("M 120 528 Q 240 548 360 528", 1.2, 3), "#8f1d22")
    print_sunset(drawing, 240, 296, 78)


def print_sunset(drawing: Drawing, x: float, y: float, radius: float) -> None:
    """The printed image on the T-shirt: a sun over hills."""
    disc = fill(ellipse(x, y, radius))
    drawing.paint(disc, "#f6d9a0")
    drawing.paint(fill(ellipse(x + 8, y - 8, radius * 0.42)), "#f08a3c")
    far = fill([(x - radius, y + 30), (x - 30, y - 12), (x + 6, y + 24), (x + 34, y - 2), (x + radius, y + 34)])
    near = fill(f"M {x - 90} {y + 44} Q {x - 30} {y + 4} {x + 10} {y + 40} L {x + 90} {y + 20} L {x} {y + 190}")
    drawing.paint(np.maximum(far, fill(box(x - 90, y + 24, x + 90, y + 90))) * disc, "#52748c")
    drawing.paint(near * disc, "#22384a")


def dresses(drawing: Drawing) -> None:
    inside = fill(mirrored("M 240 116 Q 266 112 280 84 Q 272 150 240 158"))
    drawing.paint(inside, "#3d1020")
    body = fill(
        mirrored(
            "M 240 156 C 262 152 272 120 276 70 L 304 66 C 306 110 312 140 330 160 C 322 200 306 240 304 272"
            " C 330 360 356 460 372 560 C 330 584 280 590 240 590"
        )
    )
    drawing.paint(body, "#7a2340", cloth(body, 0.08, 31))
    rng = np.random.default_rng(4)
    for end in range(112, 372, 26):
        top = 240 + (end - 240) * 0.4
        middle = top + (end - top) * 0.4
        fold = stroke(f"M {top} 290 Q {middle} 400 {end} 580", 5)
        drawing.shade(blur(fold, 5) * body, 0.5 + 0.3 * rng.random())
        edge = stroke(f"M {top + 8} 300 Q {middle + 9} 400 {end + 12} 575", 4)
        drawing.shine(blur(edge, 5) * body, 0.22)
    belt = fill(mirrored("M 240 262 Q 275 262 304 258 L 304 288 Q 275 294 240 294"))
    drawing.paint(belt, "#2b0d18", relief(belt, 4, 0.8))


def watches(drawing: Drawing) -> None:
    edges = {170: 0.5, 184: 1.1, 200: 0.8, 296: 1.1, 312: 0.5}
    steel = across({**edges, 212: 0.62, 216: 1.2, 240: 1.25, 264: 1.0, 268: 0.6})
    away = across({20: 0.55, 110: 0.9, 200: 1.0, 440: 1.0, 530: 0.85, 620: 0.5}, Y)
    bracelet = fill(mirrored("M 240 24 L 294 24 L 302 140 L 318 200 L 318 440 L 302 500 L 294 616 L 240 616"))
    drawing.paint(bracelet, "#b9bec6", steel * away)
    for y in [*range(30, 205, 19), *range(445, 615, 19)]:
        drawing.shade(stroke([(182, y), (298, y)], 1.6) * bracelet, 0.65)
        drawing.shine(stroke([(182, y + 3), (298, y + 3)], 1.2) * bracelet, 0.5)
        drawing.shade(stroke([(214, y), (214, y + 19)], 1.4) * bracelet, 0.5)
        drawing.shade(stroke([(266, y), (266, y + 19)], 1.4) * bracelet, 0.5)
    crown = fill(box(366, 304, 392, 336, 5))
    drawing.paint(crown, "#aab0b8", across({304: 0.7, 312: 1.3, 322: 0.9, 336: 0.5}, Y) * (0.85 + 0.3 * (Y % 4 < 2)))
    ring(drawing, 132, "#c3c8ce", 1.0)
    ring(drawing, 112, "#9aa0a8", -0.8)
    dial = fill(ellipse(240, 320, 104))
    drawing.paint(dial, "#16233d", 1.15 - 0.25 * ((X - 240) + (Y - 320)) / 104)
    for hour in range(60):
        inner, width = (78, 6) if hour % 15 == 0 else (84, 4) if hour % 5 == 0 else (95, 1.2)
        ends = [moved([(0, -r)], 240, 320, hour * 6)[0] for r in (inner, 98)]
        drawing.paint(stroke(ends, width), "#e9ecef")
    for x, y in ((206, 342), (274, 342)):
        drawing.paint(fill(ellipse(x, y, 20)), "#2b3a59")
        drawing.paint(stroke(ellipse(x, y, 20), 1.5), "#c9ced6")
        drawing.paint(stroke([(x, y), (x + 8, y - 11)], 2), "#e9ecef")
    for angle, length, width in ((305, 56, 7), (60, 82, 5), (192, 88, 1.8)):
        hand = [moved([(0, -r)], 240, 320, angle)[0] for r in (-14, length)]
        drawing.shade(blur(stroke([(x + 2, y + 3) for x, y in hand], width), 2), 0.5)
        drawing.paint(stroke(hand, width), "#f4f5f7" if width > 2 else "#e4572e")
    drawing.paint(fill(ellipse(240, 320, 7)), "#d5dae0")
    drawing.shine(fill("M 150 290 Q 176 226 250 220 L 200 300 L 160 330") * dial, 0.1)


def ring(drawing: Drawing, radius: float, color: str, lean: float) -> None:
    """A polished disc of the watch: light and dark twice around, as metal mirrors a studio."""
    x, y = (X - 240) / radius, (Y - 320) / radius
    shape = fill(ellipse(240, 320, radius))
    drawing.paint(shape, color, 0.95 + 0.3 * (x * x - y * y) - lean * 0.25 * (0.6 * x + 0.8 * y) + 0.25 * x * y)
    drawing.shade(stroke(ellipse(240, 320, radius), 1.5), 0.4)


def sunglasses(drawing: Drawing) -> None:
    black = "#1b1a1d"
    drawing.paint(stroke("M 50 276 C 130 254 220 246 300 254 Q 330 260 336 290", 5), "#3a3338")
    temple = fill(
        "M 336 272 C 380 266 420 270 444 286 Q 466 306 470 346 Q 460 354 454 342 Q 446 306 426 296"
        " C 400 286 366 288 336 294"
    )
    drawing.paint(temple, black, relief(temple, 4, 1.2))
    drawing.shine(blur(stroke("M 350 277 C 390 272 416 276 436 289", 2), 1), 0.4)
    rims = [
        "M 34 280 C 66 256 142 260 182 272 Q 192 286 188 312 C 180 362 152 388 112 388 C 66 388 42 352 34 280",
        "M 206 274 C 252 256 322 256 356 270 Q 362 288 356 318 C 346 372 308 398 270 396 C 226 392 206 348 206 274",
    ]
    lens = [moved(rim, 0.1 * x, 0.1 * y, 0, (0.9, 0.9)) for rim, x, y in zip(rims, (112, 280), (314, 318), strict=True)]
    glass = fill(*lens)
    drawing.paint(glass * 0.96, mixed("#241e1c", "#9a7a58", (Y - 258) / 130))
    glints = fill("M 68 288 L 106 280 L 76 350 L 58 336", "M 228 290 L 278 280 L 240 364 L 222 344")
    drawing.shine(blur(glints, 2) * glass, 0.28)
    bridge = stroke("M 178 288 Q 196 270 212 288", 12)
    frame = np.maximum(without(fill(*rims), glass), bridge)
    drawing.paint(frame, black, relief(frame, 3, 1.0))
    for path in ("M 46 277 C 80 259 140 262 176 273", "M 214 275 C 254 260 320 260 348 271"):
        drawing.shine(blur(stroke(path, 2), 1), 0.6)
    drawing.paint(fill(ellipse(346, 280, 4, 3)), "#d9d5c9")


def handbags(drawing: Drawing) -> None:
    drawing.shadow(240, 566, 170, 12)
    leather = 1 + 0.05 * noise(150, 200, 41)
    handles = [("M 150 290 C 124 60 356 60 330 290", "#7d2a1c"), ("M 138 320 C 108 100 372 100 342 320", "#a63d28")]
    for path, color in handles:
        handle = stroke(path, 15)
        drawing.paint(handle, color, relief(handle, 4, 1.5))
    side = fill(mirrored("M 240 272 L 392 282 C 412 380 424 470 430 548 Q 430 562 414 564 L 240 568"))
    light = relief(side, 14, 0.9) * relief(side, 4, 0.4) * across({272: 1.05, 420: 1.0, 568: 0.78}, Y)
    drawing.paint(side, "#a63d28", light * leather)
    drawing.shade(blur(stroke("M 96 300 Q 240 340 384 300", 5), 6) * side, 0.25)
    band = fill(mirrored("M 240 268 L 392 278 L 396 306 L 240 298"))
    drawing.paint(band, "#8d3120", relief(band, 4, 0.9) * leather)
    stitches = [
        "M 82 313 L 240 305 L 398 313",
        "M 64 546 L 414 546",
        "M 100 320 Q 76 440 66 540",
        "M 380 320 Q 404 440 414 540",
    ]
    for line in stitches:
        drawing.paint(stroke(line, 1.5, 5), "#e0a98c")
    for x in (138, 342):
        tab = fill(box(x - 14, 306, x + 14, 372, 12))
        drawing.shade(blur(tab, 4), 0.35)
        drawing.paint(tab, "#933522", relief(tab, 4, 1.0))
        metal = without(fill(ellipse(x, 316, 16)), fill(ellipse(x, 316, 10)))
        drawing.paint(metal, "#d9b35c", relief(metal, 2, 2.0))
        drawing.paint(fill(ellipse(x, 356, 5)), "#d9b35c")
    clasp = fill(box(222, 286, 258, 330, 8))
    drawing.shade(blur(clasp, 4), 0.35)
    drawing.paint(clasp, "#d9b35c", relief(clasp, 4, 1.6))


def backpacks(drawing: Drawing) -> None:
    drawing.shadow(240, 590, 140, 12)
    for side in (1, -1):
        strap = stroke(on_side("M 330 150 C 400 220 412 380 384 520", side), 24)
        drawing.paint(strap, "#20242b", relief(strap, 5, 1.2))
    handle = stroke("M 206 96 C 206 44 274 44 274 96", 12)
    drawing.paint(handle, "#20242b", relief(handle, 4, 1.4))
    body = fill(mirrored("M 240 70 C 330 70 366 120 376 220 C 386 340 392 460 388 540 Q 384 588 340 592 L 240 594"))
    canvas = 1 + 0.05 * noise(240, 320, 51) + 0.05 * noise(10, 10, 52)
    drawing.paint(body, "#2f5d8c", relief(body, 22, 0.9) * relief(body, 5, 0.5) * canvas)
    arch = outline("M 132 330 C 128 170 160 104 240 104 C 320 104 352 170 348 330")
    drawing.shade(blur(stroke(arch, 12), 3), 0.4)
    drawing.paint(stroke(arch, 9), "#1b2027")
    drawing.paint(stroke(arch, 3, 2), "#9aa3ad")
    panel = fill(mirrored("M 240 330 L 352 330 Q 372 336 372 360 L 376 540 Q 374 572 346 576 L 240 578"))
    drawing.shade(blur(panel, 6), 0.45)
    drawing.paint(panel, "#274d75", relief(panel, 14, 1.0) * relief(panel, 4, 0.5) * canvas)
    seam = outline("M 128 372 Q 240 346 352 372")
    drawing.paint(stroke(seam, 9), "#1b2027")
    drawing.paint(stroke(seam, 3, 2), "#9aa3ad")
    for x, y in ((338, 372), (346, 310)):
        pull = fill(box(x - 4, y, x + 4, y + 34, 3))
        drawing.paint(pull, "#f08a3c", relief(pull, 2, 1.5))
    patch = fill(box(200, 226, 280, 276, 8))
    drawing.paint(patch, "#f08a3c", relief(patch, 3, 0.8))
    drawing.paint(fill([(212, 266), (234, 238), (246, 254), (254, 246), (270, 266)]), "#fff4e6")
    drawing.paint(stroke("M 112 480 Q 240 500 368 480", 10), "#1b2027")


def ties(drawing: Drawing) -> None:
    slope = X * 0.8 + Y
    colors = mixed("#1d2f5e", "#c33a3f", 1.0 * (slope % 46 < 12) + 0.6 * ((slope + 20) % 46 < 4))
    loop = fill("M 214 60 C 260 30 330 60 372 112 Q 380 132 362 142 C 330 112 280 92 236 100")
    drawing.paint(loop, colors, relief(loop, 8, 1.0) * 0.85)
    drawing.shade(blur(stroke("M 236 102 C 290 92 332 116 360 142", 4), 3) * loop, 0.4)
    blade = fill(
        "M 204 66 Q 218 48 244 64 C 256 100 262 130 264 160 L 292 540 L 244 606 L 190 546 C 200 400 202 200 204 66"
    )
    drawing.shade(blur(blade, 5), 0.25)
    drawing.paint(blade, colors, relief(blade, 12, 1.0) * relief(blade, 4, 0.5) * (1 + 0.04 * noise(240, 160, 61)))
    drawing.shine(blur(stroke([(224, 120), (226, 520)], 14), 8) * blade, 0.16)
    drawing.shade(blur(stroke("M 206 132 Q 236 148 262 134", 3), 3) * blade, 0.4)


def belts(drawing: Drawing) -> None:
    drawing.shadow(240, 388, 190, 14, 0.25)
    top, bottom = ellipse(240, 290, 206, 58), ellipse(240, 344, 200, 54)
    inner = without(fill(top), fill(bottom)) * (Y < 330)
    drawing.paint(inner, "#a98258", across({34: 0.55, 120: 0.95, 240: 1.1, 360: 0.95, 446: 0.55}))
    front = fill(ellipse(240, 290, 206, 58, (0, 180)) + ellipse(240, 344, 200, 54, (180, 0)))
    grain = 1 + 0.06 * noise(200, 260, 71)
    roundness = across({34: 0.5, 90: 1.0, 160: 1.3, 240: 1.05, 340: 0.9, 446: 0.45})
    drawing.paint(front, "#5b3420", relief(front, 5, 0.9) * grain * roundness)
    for offset in (6, 48):
        edge = ellipse(240, 290 + offset, 204, 57 - offset * 0.06, (8, 172))
        drawing.paint(stroke(edge, 1.4, 5), "#b98a5e")
    for x in (262, 288, 314):
        drawing.paint(fill(ellipse(x, 374 - (x - 240) ** 2 * 0.0009, 4.5, 4)), "#24130b")
    keeper = fill(box(236, 341, 252, 406, 3))
    drawing.paint(keeper, "#4a2918", relief(keeper, 4, 1.2))
    buckle = without(fill(box(146, 330, 226, 410, 10)), fill(box(160, 343, 212, 397, 5)))
    drawing.shade(blur(buckle, 4), 0.4)
    drawing.paint(buckle, "#c9ccd1", relief(buckle, 4, 2.0) * (0.9 + 0.2 * ((X + Y) % 60 < 22)))
    prong = stroke([(154, 370), (220, 368)], 7)
    drawing.shade(blur(prong, 3), 0.4)
    drawing.paint(prong, "#d9dce0", relief(prong, 2, 2.0))


def casual_shoes(drawing: Drawing) -> None:
    drawing.shadow(244, 438, 200, 9, 0.4)
    canvas = 1 + 0.08 * noise(240, 320, 91)
    inside = fill("M 66 292 Q 84 262 126 276 Q 170 284 214 262 L 200 312 L 90 324")
    drawing.paint(inside, "#b9a67c", relief(inside, 6))
    tongue = fill("M 186 306 Q 196 246 226 244 Q 240 250 252 276 L 330 346 L 300 366 Q 226 350 186 306")
    drawing.paint(tongue, "#3a5a47", relief(tongue, 8, 1.0) * canvas)
    upper = fill(
        "M 56 412 C 50 376 58 330 64 290 Q 72 280 82 290 C 106 326 160 326 196 292 Q 206 286 214 292"
        " C 250 332 290 352 326 352 C 380 352 424 372 434 412"
    )
    drawing.paint(upper, "#2f4a3a", relief(upper, 14, 1.0) * relief(upper, 4, 0.3) * canvas)
    toe = fill("M 352 414 C 352 384 366 358 386 354 Q 430 370 438 414")
    drawing.paint(toe * upper, "#f2f0ea", relief(upper, 10, 0.8))
    facing = upper * fill("M 196 292 Q 206 284 216 292 C 250 330 290 352 330 352 L 326 376 C 270 376 220 344 186 302")
    drawing.paint(facing, "#284032", relief(facing, 4, 0.8))
    for i in range(6):
        x, y = 212 + 19 * i, 304 + 12 * i - 0.9 * i * i
        lace = stroke(f"M {x - 6} {y + 12} Q {x + 6} {y - 14} {x + 30} {y - 20}", 7)
        drawing.shade(blur(lace, 2), 0.35)
        drawing.paint(lace, "#f7f5ef", relief(lace, 2, 1.0))
        drawing.paint(fill(ellipse(x - 6, y + 13, 4)), "#c7c9cc")
    for path in ("M 176 312 Q 170 366 150 404", "M 66 336 Q 104 346 114 404", "M 340 356 Q 332 384 336 404"):
        drawing.paint(stroke(path, 1.3, 4), "#d9d3c0")
    sole = fill("M 50 398 Q 240 414 442 396 Q 450 418 440 436 L 62 440 Q 46 424 50 398")
    drawing.paint(sole, "#f4f2ec", relief(sole, 5, 0.8))
    drawing.paint(stroke("M 52 409 Q 240 426 444 407", 3), "#b5352f")
    drawing.paint(stroke("M 60 437 Q 240 442 440 434", 5), "#9a7a52")


def socks(drawing: Drawing) -> None:
    shape = outline(
        "M 150 60 Q 200 50 252 60 C 256 180 250 300 262 380 C 300 440 350 470 356 530 Q 350 590 296 590"
        " C 240 580 180 500 164 430 C 150 330 152 200 150 60"
    )
    toe = outline("M 356 530 Q 320 500 280 540 Q 268 560 270 590 L 380 620 L 400 520")
    knit = 1 + 0.08 * noise(240, 213, 101) + 0.06 * noise(12, 14, 102)
    for x, y, color, trim in ((60, -14, "#2b2f38", "#8d949e"), (-40, 12, "#23262e", "#d04a3a")):
        sock = fill(moved(shape, x, y))
        drawing.shade(blur(sock, 6), 0.3)
        light = relief(sock, 18, 1.3) * knit
        ribs = 1 + 0.12 * np.where((X % 8 < 3) & (y + 130 > Y), -1.0, 0.3)
        drawing.paint(sock, color, light * relief(sock, 5, 0.6) * ribs)
        drawing.paint(sock * fill(moved(toe, x, y)), trim, light)
        for top in (146 + y, 166 + y):
            drawing.paint(sock * fill(box(0, top, WIDTH, top + 9)), trim, light)


def caps(drawing: Drawing) -> None:
    drawing.shadow(230, 452, 170, 10, 0.25)
    crown = fill(
        "M 118 372 C 112 250 180 176 280 178 C 380 182 432 262 428 384 Q 420 412 396 416 C 300 370 210 362 118 372"
    )
    twill = 1 + 0.05 * noise(240, 320, 111) + 0.04 * ((X + Y) % 5 < 2)
    drawing.paint(crown, "#1f4f8f", relief(crown, 26, 1.1) * relief(crown, 6, 0.4) * twill)
    for path in ("Q 210 220 196 364", "Q 345 240 350 386", "Q 400 240 412 412"):
        seam = outline("M 278 180 " + path)
        drawing.shade(stroke(seam, 2) * crown, 0.45)
        drawing.paint(stroke([(x + 4, y) for x, y in seam], 1.1, 4) * crown, "#7fa3d4")
    button = fill(ellipse(278, 178, 12, 7))
    drawing.paint(button, "#1b447b", relief(button, 3, 1.6))
    badge = fill(ellipse(238, 290, 40, 36))
    drawing.paint(badge, "#f2f4f7", relief(badge, 4, 0.8))
    drawing.paint(fill([(208, 306), (230, 268), (242, 288), (252, 276), (270, 306)]), "#c8383a")
    front = outline("M 396 416 C 350 404 270 404 210 424 C 150 446 90 462 66 440 C 50 416 80 384 118 366")
    visor = fill(front + outline("M 118 366 C 210 352 310 366 396 416"))
    drawing.shade(blur(visor, 7) * crown, 0.4)
    drawing.paint(visor, "#1b447b", relief(visor, 12, 1.1) * relief(visor, 3, 0.6) * twill)
    for shrink in (0.95, 0.89, 0.83):
        stitches = moved(front, 240 * (1 - shrink), 396 * (1 - shrink), 0, (shrink, shrink))
        drawing.paint(stroke(stitches, 1.1, 4) * visor, "#7fa3d4")


def lipstick(drawing: Drawing) -> None:
    drawing.shadow(190, 566, 70, 8)
    drawing.shadow(312, 566, 60, 8)
    bullet = fill("M 160 330 L 160 190 C 164 150 196 118 222 112 Q 226 116 226 140 L 226 330")
    drawing.paint(bullet, "#b3122f", tube(160, 226, 0.5))
    face = fill("M 163 200 C 160 160 196 118 221 114 C 226 140 190 196 163 200")
    drawing.paint(face, "#cf2f49", across({160: 0.9, 190: 1.15, 226: 1.0}))
    black, gold = ("#191719", 3.5), ("#d8b25a", 0.8)
    case = [(150, 236, 316, 400, gold), (142, 244, 396, 412, gold), (138, 248, 410, 566, black)]
    cap = [(264, 362, 340, 566, black), (264, 362, 520, 534, gold)]
    for left, right, top, bottom, (color, gloss) in case + cap:
        drawing.paint(fill(box(left, top, right, bottom, 5)), color, tube(left, right, gloss))


def perfume_and_body_mist(drawing: Drawing) -> None:
    drawing.shadow(240, 536, 120, 10)
    cap = fill(box(190, 122, 290, 232, 6))
    drawing.paint(cap, "#b9bdc4", tube(190, 290, 0.45))
    neck = fill(box(206, 230, 274, 258, 3))
    drawing.paint(neck, "#d8dade", tube(206, 274, 0.4))
    glass = fill(box(122, 254, 358, 536, 24))
    drawing.paint(glass, "#e3ebf2", across({122: 0.7, 136: 0.95, 148: 1.1, 230: 1.0, 340: 0.95, 350: 0.8, 358: 0.65}))
    liquid = fill(box(142, 290, 338, 514, 14))
    blue = mixed("#b9d6ee", "#4f86c6", (Y - 290) / 224)
    drawing.paint(liquid, blue, across({142: 0.8, 164: 1.1, 200: 1.02, 310: 0.98, 338: 0.82}))
    drawing.paint(stroke([(240, 258), (240, 360)], 3) * 0.5, "white")
    drawing.shine(blur(stroke([(158, 302), (158, 498)], 10), 3), 0.7)
    drawing.shine(blur(stroke([(326, 310), (326, 490)], 4), 2), 0.5)
    petals = [ellipse(*moved([(0, -21)], 240, 396, angle)[0], 12) for angle in range(0, 360, 60)]
    drawing.paint(fill(*petals), "#f3f6fa")
    drawing.paint(fill(ellipse(240, 396, 10)), "#e3b94d")
    for y, half in ((450, 48), (464, 30)):
        drawing.paint(stroke([(240 - half, y), (240 + half, y)], 3), "#f3f6fa")


def nail_polish(drawing: Drawing) -> None:
    drawing.shadow(240, 544, 96, 9)
    cap = fill(mirrored("M 240 106 L 266 106 Q 274 108 274 120 L 284 312 L 240 316"))
    drawing.paint(cap, "#1b1a1d", tube(196, 284, 3.5))
    drawing.paint(fill(box(198, 304, 282, 320, 3)), "#c9ccd1", tube(198, 282, 0.5))
    bottle = fill(mirrored("M 240 318 L 282 318 C 284 338 326 348 330 382 L 334 514 Q 334 542 306 544 L 240 544"))
    drawing.paint(bottle, "#f3dfe3", tube(146, 334, 0.2))
    polish = fill(mirrored("M 240 332 L 272 332 C 280 354 314 362 318 390 L 322 506 Q 320 526 300 528 L 240 528"))
    drawing.paint(polish, "#c2185b", tube(158, 322, 0.35) * 1.05)
    drawing.shine(blur(stroke("M 190 366 Q 176 374 176 392 L 174 504", 7), 2), 0.75)
    drawing.shine(blur(stroke([(304, 392), (308, 504)], 3), 2), 0.5)
    for y, half in ((430, 34), (446, 24), (462, 30)):
        drawing.paint(stroke([(240 - half, y), (240 + half, y)], 3), "#fbe9ef")


def flip_flops(drawing: Drawing) -> None:
    foot = outline(
        "M -204 0 C -210 -58 -150 -80 -90 -70 C -20 -56 40 -86 110 -92 C 184 -94 218 -44 212 6"
        " C 208 66 140 98 70 90 C 10 84 -60 58 -110 64 C -170 66 -202 40 -204 0"
    )

    def at(points: Points, down: float = 0) -> Points:
        return moved(points, 240, 322 + down, 24, (0.92, 0.6))

    drawing.paint(blur(fill(at(foot, 38)), 8) * 0.4, "#3c3c44")
    sole = fill(*[at(foot, down) for down in range(0, 30, 4)])
    drawing.paint(sole, "#15233f", across({100: 0.8, 300: 1.3, 470: 0.8}))
    drawing.paint(fill(*[at(foot, down) for down in (8, 11, 14)]), "#e9ecf0")
    bed = fill(at(foot))
    dots = 0.1 * ((X % 6 < 3) & (Y % 6 < 3)) + 0.04 * noise(30, 40, 121)
    drawing.paint(bed, "#2a5fa8", relief(bed, 8, 0.6) * (1 + dots))
    ((x, y),) = at([(110, -16)])
    for end, bend, lift in (((-10, -74), 16, 50), ((0, 86), -2, 30)):
        ((end_x, end_y),) = at([end])
        path = outline(f"M {x} {y - 4} Q {(x + end_x) / 2 + bend} {(y + end_y) / 2 - lift} {end_x} {end_y + 10}")
        drawing.shade(blur(stroke([(a, b + 12) for a, b in path], 18), 6) * bed, 0.5)
        strap = stroke(path, 18)
        drawing.paint(strap, "#15233f", relief(strap, 6, 2.2))
        drawing.paint(stroke([(a, b - 2) for a, b in path], 2.0, 5), "#8fb2e6")
    knob = fill(ellipse(x, y, 14, 15))
    drawing.paint(knob, "#15233f", relief(knob, 4, 2.5))


def shorts(drawing: Drawing) -> None:
    shape = fill(mirrored("M 240 150 Q 300 150 346 142 C 366 220 396 330 416 452 Q 340 486 262 490 Q 254 420 240 350"))
    drawing.paint(shape, "#23282f", cloth(shape, 0.18, 131))
    drawing.shade(blur(stroke([(240, 350), (240, 190)], 3), 2), 0.5)
    for side in (1, -1):
        stripe = shape * fill(on_side("M 340 176 C 362 250 384 350 398 460 L 414 454 C 394 330 366 220 350 166", side))
        drawing.paint(stripe, "#e8eaed", relief(shape, 14, 0.5))
        hem = on_side("M 262 474 Q 340 470 412 438", side)
        drawing.paint(stroke(hem, 1.3, 4), "#7b828c")
        crease = stroke(on_side("M 262 340 Q 290 380 330 400", side), 4)
        drawing.shade(blur(crease, 5) * shape, 0.4)
    band = fill(mirrored("M 240 150 Q 300 150 346 142 L 352 176 Q 300 186 240 186"))
    drawing.paint(band, "#2b3038", relief(band, 5, 0.8) * (0.85 + 0.3 * (X % 7 < 4)))
    for path in ("M 234 180 C 220 210 222 240 214 262", "M 246 180 C 256 210 252 236 262 256"):
        cord = stroke(path, 4)
        drawing.paint(cord, "#f1f2f4", relief(cord, 2, 1.0))


def jpeg(image: Image.Image) -> bytes:
    return encode(image, "JPEG", quality=88, optimize=True)


def progressive_jpeg(image: Image.Image) -> bytes:
    return encode(image, "JPEG", quality=88, progressive=True)


def rotated_jpeg(image: Image.Image) -> bytes:
    """Stored on its side, with the EXIF orientation that says how to set it upright, as phones do."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = TURN_CLOCKWISE
    return encode(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=88, optimize=True, exif=exif)


def webp(image: Image.Image) -> bytes:
    return encode(image, "WEBP", quality=88)


def png(image: Image.Image) -> bytes:
    return encode(image, "PNG", optimize=True)


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


EXAMPLES: dict[str, tuple[Callable[[Drawing], None], Callable[[Image.Image], bytes]]] = {
    "backpacks.jpg": (backpacks, rotated_jpeg),
    "belts.jpg": (belts, jpeg),
    "caps.jpg": (caps, jpeg),
    "casual_shoes.jpg": (casual_shoes, jpeg),
    "dresses.jpg": (dresses, progressive_jpeg),
    "flip_flops.jpg": (flip_flops, jpeg),
    "handbags.webp": (handbags, webp),
    "lipstick.jpg": (lipstick, jpeg),
    "nail_polish.jpg": (nail_polish, jpeg),
    "perfume_and_body_mist.jpg": (perfume_and_body_mist, jpeg),
    "shorts.jpg": (shorts, jpeg),
    "socks.jpg": (socks, jpeg),
    "sunglasses.png": (sunglasses, png),
    "ties.jpg": (ties, jpeg),
    "tshirts.jpg": (tshirts, jpeg),
    "watches.jpg": (watches, jpeg),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="draw_examples.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="FOLDER", help="where the images go (default: examples/)"
    )
    args = parser.parse_args(argv)
    if not args.output.is_dir():
        parser.error(f"--output {args.output}: no such folder; make it first")
    for name, (draw, encoded) in EXAMPLES.items():
        drawing = Drawing()
        draw(drawing)
        content = encoded(drawing.transparent_image() if encoded is png else drawing.image())
        (args.output / name).write_bytes(content)
        print(f"{name}: {len(content) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
