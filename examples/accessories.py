"""The accessories and cosmetics that draw_examples.py draws; each function is named after its label."""

import numpy as np

from brushes import Drawing, across, blur, mixed, noise, relief, tube
from shapes import X, Y, box, ellipse, fill, mirrored, moved, on_side, outline, stroke, without


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
    drawing.emboss(temple, black, 4, 1.2)
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
    drawing.emboss(np.maximum(without(fill(*rims), glass), bridge), black, 3)
    for path in ("M 46 277 C 80 259 140 262 176 273", "M 214 275 C 254 260 320 260 348 271"):
        drawing.shine(blur(stroke(path, 2), 1), 0.6)
    drawing.paint(fill(ellipse(346, 280, 4, 3)), "#d9d5c9")


def handbags(drawing: Drawing) -> None:
    drawing.shadow(240, 566, 170, 12)
    leather = 1 + 0.05 * noise(150, 200, 41)
    handles = [("M 150 290 C 124 60 356 60 330 290", "#7d2a1c"), ("M 138 320 C 108 100 372 100 342 320", "#a63d28")]
    for path, color in handles:
        drawing.emboss(stroke(path, 15), color, 4, 1.5)
    side = fill(mirrored("M 240 272 L 392 282 C 412 380 424 470 430 548 Q 430 562 414 564 L 240 568"))
    light = relief(side, 14, 0.9) * relief(side, 4, 0.4) * across({272: 1.05, 420: 1.0, 568: 0.78}, Y)
    drawing.paint(side, "#a63d28", light * leather)
    drawing.shade(blur(stroke("M 96 300 Q 240 340 384 300", 5), 6) * side, 0.25)
    drawing.emboss(fill(mirrored("M 240 268 L 392 278 L 396 306 L 240 298")), "#8d3120", 4, 0.9, light=leather)
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
        drawing.emboss(tab, "#933522", 4)
        drawing.emboss(without(fill(ellipse(x, 316, 16)), fill(ellipse(x, 316, 10))), "#d9b35c", 2, 2.0)
        drawing.paint(fill(ellipse(x, 356, 5)), "#d9b35c")
    clasp = fill(box(222, 286, 258, 330, 8))
    drawing.shade(blur(clasp, 4), 0.35)
    drawing.emboss(clasp, "#d9b35c", 4, 1.6)


def backpacks(drawing: Drawing) -> None:
    drawing.shadow(240, 590, 140, 12)
    for side in (1, -1):
        drawing.emboss(stroke(on_side("M 330 150 C 400 220 412 380 384 520", side), 24), "#20242b", 5, 1.2)
    drawing.emboss(stroke("M 206 96 C 206 44 274 44 274 96", 12), "#20242b", 4, 1.4)
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
        drawing.emboss(fill(box(x - 4, y, x + 4, y + 34, 3)), "#f08a3c", 2, 1.5)
    drawing.emboss(fill(box(200, 226, 280, 276, 8)), "#f08a3c", 3, 0.8)
    drawing.paint(fill([(212, 266), (234, 238), (246, 254), (254, 246), (270, 266)]), "#fff4e6")
    drawing.paint(stroke("M 112 480 Q 240 500 368 480", 10), "#1b2027")


def belts(drawing: Drawing) -> None:
    drawing.shadow(240, 388, 190, 14, 0.25)
    top, bottom = ellipse(240, 290, 206, 58), ellipse(240, 344, 200, 54)
    inner = without(fill(top), fill(bottom)) * (Y < 330)
    drawing.paint(inner, "#a98258", across({34: 0.55, 120: 0.95, 240: 1.1, 360: 0.95, 446: 0.55}))
    front = fill(ellipse(240, 290, 206, 58, (0, 180)) + ellipse(240, 344, 200, 54, (180, 0)))
    grain = 1 + 0.06 * noise(200, 260, 71)
    roundness = across({34: 0.5, 90: 1.0, 160: 1.3, 240: 1.05, 340: 0.9, 446: 0.45})
    drawing.emboss(front, "#5b3420", 5, 0.9, light=grain * roundness)
    for offset in (6, 48):
        edge = ellipse(240, 290 + offset, 204, 57 - offset * 0.06, (8, 172))
        drawing.paint(stroke(edge, 1.4, 5), "#b98a5e")
    for x in (262, 288, 314):
        drawing.paint(fill(ellipse(x, 374 - (x - 240) ** 2 * 0.0009, 4.5, 4)), "#24130b")
    drawing.emboss(fill(box(236, 341, 252, 406, 3)), "#4a2918", 4, 1.2)
    buckle = without(fill(box(146, 330, 226, 410, 10)), fill(box(160, 343, 212, 397, 5)))
    drawing.shade(blur(buckle, 4), 0.4)
    drawing.emboss(buckle, "#c9ccd1", 4, 2.0, light=0.9 + 0.2 * ((X + Y) % 60 < 22))
    prong = stroke([(154, 370), (220, 368)], 7)
    drawing.shade(blur(prong, 3), 0.4)
    drawing.emboss(prong, "#d9dce0", 2, 2.0)


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
