"""Draws the training curve: loss, and the share of new wordings that are answered word for word."""

import json
import sys
from pathlib import Path

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 720, 340, 60, 60, 30, 50
LOSS, DEV, INK, GRID = "#b3541e", "#1e6fb3", "#333333", "#dddddd"


def main():
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    most = max(line["tokens"] for line in lines) / 1e6
    top = max(1.0, min(3.0, max(line["loss"] for line in lines)))
    across = lambda tokens: LEFT + (WIDE - LEFT - RIGHT) * tokens / 1e6 / most
    down = lambda share: TOP + (HIGH - TOP - BOTTOM) * (1 - share)
    row = lambda key, scale: " ".join(
        f"{across(line['tokens']):.1f},{down(min(1.0, line[key] / scale)):.1f}" for line in lines
    )
    text = lambda x, y, words, anchor="middle", colour=INK: (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDE}" height="{HIGH}" fill="white"/>',
    ]
    for fifth in range(6):
        y = down(fifth / 5)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDE - RIGHT}" y2="{y:.1f}" stroke="{GRID}"/>')
        out.append(text(LEFT - 8, y + 4, f"{top * fifth / 5:.2f}", "end", LOSS))
        out.append(text(WIDE - RIGHT + 8, y + 4, f"{20 * fifth} %", "start", DEV))
        out.append(text(across(most * 1e6 * fifth / 5), HIGH - BOTTOM + 18, f"{most * fifth / 5:.1f}"))
    out.append(f'<polyline fill="none" stroke="{LOSS}" stroke-width="2" points="{row("loss", top)}"/>')
    out.append(f'<polyline fill="none" stroke="{DEV}" stroke-width="2" points="{row("dev", 1.0)}"/>')
    out.append(text(WIDE / 2, HIGH - 12, "million tokens seen"))
    out.append(text(LEFT, TOP - 12, "loss (nats per token of answer)", "start", LOSS))
    out.append(text(WIDE - RIGHT, TOP - 12, "new wordings answered word for word", "end", DEV))
    out.append("</svg>\n")
    Path(sys.argv[2]).write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    main()
