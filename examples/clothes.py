"""The clothes and shoes that draw_examples.py draws; each function is named after its label in the shipped model."""

import numpy as np

from brushes import Drawing, across, blur, cloth, mixed, noise, relief
from shapes import WIDTH, Points, X, Y, box, ellipse, fill, mirrored, moved, on_side, outline, stroke


def tshirts(drawing: Drawing) -> None:
    drawing.emboss(fill(mirrored("M 240 112 Q 270 112 292 104 Q 290 160 240 168")), "#8f1d22", 6)
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
    drawing.emboss(stroke(mirrored("M 288 108 Q 278 158 240 166")[:-1], 9), "#b8292f", 2, 0.8)
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
    drawing.emboss(fill(mirrored("M 240 262 Q 275 262 304 258 L 304 288 Q 275 294 240 294")), "#2b0d18", 4, 0.8)


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
    drawing.emboss(band, "#2b3038", 5, 0.8, light=0.85 + 0.3 * (X % 7 < 4))
    for path in ("M 234 180 C 220 210 222 240 214 262", "M 246 180 C 256 210 252 236 262 256"):
        drawing.emboss(stroke(path, 4), "#f1f2f4", 2)


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


def ties(drawing: Drawing) -> None:
    slope = X * 0.8 + Y
    colors = mixed("#1d2f5e", "#c33a3f", 1.0 * (slope % 46 < 12) + 0.6 * ((slope + 20) % 46 < 4))
    loop = fill("M 214 60 C 260 30 330 60 372 112 Q 380 132 362 142 C 330 112 280 92 236 100")
    drawing.emboss(loop, colors, 8, light=0.85)
    drawing.shade(blur(stroke("M 236 102 C 290 92 332 116 360 142", 4), 3) * loop, 0.4)
    blade = fill(
        "M 204 66 Q 218 48 244 64 C 256 100 262 130 264 160 L 292 540 L 244 606 L 190 546 C 200 400 202 200 204 66"
    )
    drawing.shade(blur(blade, 5), 0.25)
    drawing.paint(blade, colors, relief(blade, 12, 1.0) * relief(blade, 4, 0.5) * (1 + 0.04 * noise(240, 160, 61)))
    drawing.shine(blur(stroke([(224, 120), (226, 520)], 14), 8) * blade, 0.16)
    drawing.shade(blur(stroke("M 206 132 Q 236 148 262 134", 3), 3) * blade, 0.4)


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
    drawing.emboss(fill(ellipse(278, 178, 12, 7)), "#1b447b", 3, 1.6)
    drawing.emboss(fill(ellipse(238, 290, 40, 36)), "#f2f4f7", 4, 0.8)
    drawing.paint(fill([(208, 306), (230, 268), (242, 288), (252, 276), (270, 306)]), "#c8383a")
    front = outline("M 396 416 C 350 404 270 404 210 424 C 150 446 90 462 66 440 C 50 416 80 384 118 366")
    visor = fill(front + outline("M 118 366 C 210 352 310 366 396 416"))
    drawing.shade(blur(visor, 7) * crown, 0.4)
    drawing.paint(visor, "#1b447b", relief(visor, 12, 1.1) * relief(visor, 3, 0.6) * twill)
    for shrink in (0.95, 0.89, 0.83):
        stitches = moved(front, 240 * (1 - shrink), 396 * (1 - shrink), 0, (shrink, shrink))
        drawing.paint(stroke(stitches, 1.1, 4) * visor, "#7fa3d4")


def casual_shoes(drawing: Drawing) -> None:
    drawing.shadow(244, 438, 200, 9, 0.4)
    canvas = 1 + 0.08 * noise(240, 320, 91)
    drawing.emboss(fill("M 66 292 Q 84 262 126 276 Q 170 284 214 262 L 200 312 L 90 324"), "#b9a67c", 6)
    tongue = fill("M 186 306 Q 196 246 226 244 Q 240 250 252 276 L 330 346 L 300 366 Q 226 350 186 306")
    drawing.emboss(tongue, "#3a5a47", 8, light=canvas)
    upper = fill(
        "M 56 412 C 50 376 58 330 64 290 Q 72 280 82 290 C 106 326 160 326 196 292 Q 206 286 214 292"
        " C 250 332 290 352 326 352 C 380 352 424 372 434 412"
    )
    drawing.paint(upper, "#2f4a3a", relief(upper, 14, 1.0) * relief(upper, 4, 0.3) * canvas)
    toe = fill("M 352 414 C 352 384 366 358 386 354 Q 430 370 438 414")
    drawing.paint(toe * upper, "#f2f0ea", relief(upper, 10, 0.8))
    facing = fill("M 196 292 Q 206 284 216 292 C 250 330 290 352 330 352 L 326 376 C 270 376 220 344 186 302")
    drawing.emboss(upper * facing, "#284032", 4, 0.8)
    for i in range(6):
        x, y = 212 + 19 * i, 304 + 12 * i - 0.9 * i * i
        lace = stroke(f"M {x - 6} {y + 12} Q {x + 6} {y - 14} {x + 30} {y - 20}", 7)
        drawing.shade(blur(lace, 2), 0.35)
        drawing.emboss(lace, "#f7f5ef", 2)
        drawing.paint(fill(ellipse(x - 6, y + 13, 4)), "#c7c9cc")
    for path in ("M 176 312 Q 170 366 150 404", "M 66 336 Q 104 346 114 404", "M 340 356 Q 332 384 336 404"):
        drawing.paint(stroke(path, 1.3, 4), "#d9d3c0")
    drawing.emboss(fill("M 50 398 Q 240 414 442 396 Q 450 418 440 436 L 62 440 Q 46 424 50 398"), "#f4f2ec", 5, 0.8)
    drawing.paint(stroke("M 52 409 Q 240 426 444 407", 3), "#b5352f")
    drawing.paint(stroke("M 60 437 Q 240 442 440 434", 5), "#9a7a52")


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
    drawing.emboss(bed, "#2a5fa8", 8, 0.6, light=1 + dots)
    ((x, y),) = at([(110, -16)])
    for end, bend, lift in (((-10, -74), 16, 50), ((0, 86), -2, 30)):
        ((end_x, end_y),) = at([end])
        path = outline(f"M {x} {y - 4} Q {(x + end_x) / 2 + bend} {(y + end_y) / 2 - lift} {end_x} {end_y + 10}")
        drawing.shade(blur(stroke([(a, b + 12) for a, b in path], 18), 6) * bed, 0.5)
        drawing.emboss(stroke(path, 18), "#15233f", 6, 2.2)
        drawing.paint(stroke([(a, b - 2) for a, b in path], 2.0, 5), "#8fb2e6")
    drawing.emboss(fill(ellipse(x, y, 14, 15)), "#15233f", 4, 2.5)
