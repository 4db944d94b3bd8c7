"""Draw the figures of the README: both networks, from the Keras models, and the method of completion."""

import textwrap
from html import escape
from pathlib import Path

from installed import command

from contextual_gan.config import SearchSettings

EXAMPLES = """\
  python scripts/experiments/diagrams.py

The command writes generator.svg, discriminator.svg and method.svg, the same bytes each time.
"""

WIDTH = 1000
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, GREY, PALE = "#1f2933", "#667281", "#f5f6f8"
BLUE, ORANGE, VIOLET, GREEN, RED = "#4a86c5", "#de8a3c", "#8468bd", "#2f8f5b", "#c8402f"  # G, D, z, result, gradient
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"

SHORT = {"Conv2D": "conv", "Conv2DTranspose": "transposed conv", "BatchNormalization": "BN"}
FACE = (  # back to front in 64 x 64 units: outlined in a sketch, filled in a photo
    ("M12 64C12 44 10 36 12 24C14 9 24 4 33 4C44 4 52 11 53 25C54 38 52 46 54 64", "#5b3d2b"),
    ("M9 64C13 60 18 59 25 56V46H40V56C46 59 52 60 56 64", "#dba27e"),
    ("M18 26C18 46 26 55 32.5 55C39 55 47 46 47 26C47 12 18 12 18 26Z", "#efbf9b"),
    ("M17 32C18 24 22 19 30 14C36 20 42 22 48 31C49 18 44 9 33 9C22 9 16 19 17 32Z", "#5b3d2b"),
    ("M22 29q4-3 8-1q-4-1-8 1ZM35 28q4-2 8 1q-4-2-8-1Z", "#4a3122"),
    ("M22.5 33q3.5-3 7 0q-3.5 2.5-7 0ZM35.5 33q3.5-3 7 0q-3.5 2.5-7 0Z", "#2d4a66"),
    ("M32 35C32 38 29.5 40 31 42Q33 43 35 42Q33.5 42.5 31.5 41.5Z", "#c98a66"),
    ("M26.5 47Q32.5 45 38.5 47Q32.5 52 26.5 47Z", "#c2574f"),
)


def tag(name, content="", **attributes):
    """An SVG element; numbers are rounded, so the bytes are the same everywhere."""
    said = (f'{k.replace("_", "-")}="{v if isinstance(v, str) else format(v, ".5g")}"' for k, v in attributes.items())
    return f"<{name} {' '.join(said)}>{content}</{name}>"


def text(x, y, lines, size=13, anchor="middle", colour=INK, bold=False):
    """Lines of text, the baseline of the first at y."""
    spans = "".join(tag("tspan", escape(line), x=x, y=y + 1.25 * size * i) for i, line in enumerate(lines))
    return tag("text", spans, font_size=size, font_weight="600" if bold else "400", text_anchor=anchor, fill=colour)


def polygon(points, colour, opacity=1):
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polygon", points=corners, fill=colour, fill_opacity=opacity, stroke=colour, stroke_linejoin="round")


def box(x, y, width, height, stroke, radius=8, fill=PALE, opacity=1):
    size = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
    return tag("rect", **size, fill=fill, fill_opacity=opacity, stroke=stroke)


def arrow(*points, colour=GREY, dashes="none"):
    """An arrow through points, each straight above or beside the one before."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in (*points[:-1], (x - 7 * dx, y - 7 * dy)))
    head = [(x, y), (x - 9 * dx - 4 * dy, y - 9 * dy + 4 * dx), (x - 9 * dx + 4 * dy, y - 9 * dy - 4 * dx)]
    line = tag("path", d=path, fill="none", stroke=colour, stroke_width=1.8, stroke_dasharray=dashes)
    return line + polygon(head, colour)


def face(transform, stroke=0.0):
    """The face, 64 x 64 before `transform`: a sketch with lines of width `stroke`, or a photo where that is 0."""
    paths = "".join(tag("path", d=d, fill="#fff" if stroke else colour) for d, colour in FACE)
    square = {"width": 64, "height": 64}
    below = tag("rect", **square, fill="#fff" if stroke else "#bcd3e6")
    lines = tag("g", paths, stroke="#333" if stroke else "none", stroke_width=stroke)
    return tag("g", below + lines + tag("rect", **square, fill="none", stroke=INK), transform=transform)


def page(title, subtitle, height, parts):
    """A whole SVG file; with a white background, since GitHub also shows it in dark mode."""
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    background = box(0, 0, WIDTH, height, "none", 12, "#fff")
    heading = text(28, 37, [title], 19, "start", bold=True) + text(28, 58, [subtitle], 13, "start", GREY)
    body = "\n".join([tag("title", escape(title)), background, heading, *parts])
    return f'{start} role="img" font-family="{FONT}">\n{body}\n</svg>\n'


def words(layer):
    """A layer's operation, in words."""
    kind = type(layer).__name__.removeprefix("_")  # Keras's name, also for our replacement
    said = [SHORT.get(kind, kind)]
    if hasattr(layer, "kernel_size"):
        said = [f"{TIMES.join(map(str, layer.kernel_size))} {said[0]}", f"stride {layer.strides[0]}"]
    if slope := getattr(layer, "negative_slope", 0):
        said = [f"{said[0]} {slope:g}"]
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return said if activation == "linear" else [*said, activation]


def parameters(part):
    return sum(variable.shape.num_elements() for variable in part.trainable_variables)


def operations(model):
    """A chain of layers -> [[words, trainable parameters, shape of the result]], one for each layer with a kernel."""
    found, before = [], []
    for layer in model.layers[1:]:
        if type(layer).__name__ == "Flatten":  # part of the dense layer that follows
            before = words(layer)
            continue
        if hasattr(layer, "kernel"):
            found.append([before, 0, None])
            before = []
        found[-1] = [found[-1][0] + words(layer), found[-1][1] + parameters(layer), layer.output.shape[1:]]
    return found


def size(shape):
    """Drawn width, height and depth of a map, from its channels, rows and columns: roots keep small maps visible."""
    rows, columns, channels = (*shape, 1, 1)[:3]
    return max(5, 2.6 * channels**0.5), max(16, 10 * rows**0.6), 4.4 * columns**0.6


def cuboid(x, y, shape, colour):
    """A feature map with its centre at height y. Its front faces right and shows a joint image."""
    front, height, depth = size(shape)
    right, rise = x + front, depth / 2  # a slope of 1:2
    top = y - (height - rise) / 2
    back, bottom = top - rise, top + height
    parts = [
        polygon([(x, top), (right, top), (right, bottom), (x, bottom)], colour, 0.45),
        polygon([(x, top), (x + depth, back), (right + depth, back), (right, top)], colour, 0.2),
        polygon([(right, top), (right + depth, back), (right + depth, bottom - rise), (right, bottom)], colour, 0.7),
    ]
    if shape[1:] == (128, 3):
        skew = f"matrix({depth / 128:.4f} {-rise / 128:.4f} 0 {height / 64:.4f}"
        parts.append(face(f"{skew} {right:.1f} {top:.1f})", stroke=1.1))
        parts.append(face(f"{skew} {right + depth / 2:.1f} {top - rise / 2:.1f})"))
    return "".join(parts)


def network(model, title, colour, captions):
    """A network from left to right: its maps and the operations between them. `captions`: of the first and last map."""
    done = operations(model)
    shapes = [model.input.shape[1:], *(shape for _, _, shape in done)]
    extents = [front + depth for front, _, depth in map(size, shapes)]
    gap = (WIDTH - 96 - sum(extents)) / len(done)
    x, y, foot, parts = 48, 182, 308, []
    for i, (shape, extent) in enumerate(zip(shapes, extents, strict=True)):
        middle = x + extent / 2
        parts.append(cuboid(x, y, shape, VIOLET if len(shape) == 1 else GREY if shape[-1] == 3 else colour))
        parts.append(text(middle, foot, [f" {TIMES} ".join(map(str, shape))], bold=True))
        if i in (0, len(done)):
            parts.append(text(middle, foot + 18, [captions[i > 0]], 12, colour=GREY))
        x += extent
        if i < len(done):
            said, count, _ = done[i]
            lines = textwrap.wrap(", ".join(said), 15)
            parts.append(text(x + gap / 2, y + 4 - 15 * len(lines), lines, 12))
            parts.append(arrow((x + 8, y), (x + gap - 8, y)))
            parts.append(text(x + gap / 2, y + 20, [f"{count:,}", "parameters"], 12, colour=GREY))
            x += gap
    subtitle = f"{parameters(model):,} trainable parameters. Maps are labelled height {TIMES} width {TIMES} channels."
    return page(title, subtitle, foot + 40, parts)


def step(x, y, number, title, lines):
    """A numbered step of the method and its explanation."""
    badge = tag("circle", cx=x, cy=y - 4.5, r=10.5, fill=INK) + text(x, y, [number], colour="#fff", bold=True)
    return badge + text(x + 18, y, [title], 13, "start", bold=True) + text(x + 18, y + 17, lines, 12, "start")


def vector(x, y, number, colour, across=True):
    """The cells of a z, with strengths that depend on its number."""
    cells = ((29 * i + 53 * number + 17 * i * number) % 90 / 100 + 0.1 for i in range(8))
    return "".join(
        box(x + 13 * i * across, y + 13 * i * (not across), 13, 13, colour, 0, colour, strength)
        for i, strength in enumerate(cells)
    )


def candidates(x, y):
    """Some of the z of refined initialization, with their divergences as bars; the lowest, at height y, is marked."""
    parts = [box(x - 7, y - 13, 188, 26, VIOLET, 5, "#fff"), text(x + 116, y - 56, ["KL"], 12, "start", GREY)]
    for i, divergence in enumerate((0.8, 0.62, 0.3, 0.95, 0.55)):
        top, colour = y - 48.5 + 21 * i, VIOLET if i == 2 else "#98a2ad"
        parts += [vector(x, top, i, colour), box(x + 116, top + 1, 58 * divergence, 11, "none", 2, colour)]
    return "".join(parts)


def frozen(x, y, name, colour, left, right):
    """A network as a trapezium about (x, y), with a padlock, as the search does not change it."""
    corners = [(x - 42, y - left), (x + 42, y - right), (x + 42, y + right), (x - 42, y + left)]
    bow = tag("path", d=f"M{x - 26.5} {y + 72}v-4a4 4 0 0 1 8 0v4", fill="none", stroke=GREY, stroke_width=1.8)
    lock = bow + box(x - 29, y + 72, 13, 10, "none", 2, GREY) + text(x - 11, y + 82, ["frozen"], 12, "start", GREY)
    return polygon(corners, colour, 0.3) + text(x, y + 9, [name], 26, bold=True) + lock


def loss(x, y, title, lines):
    """A box about (x, y)."""
    return box(x - 76, y - 34, 152, 68, GREY) + text(x, y - 14, [title], bold=True) + text(x, y + 6, lines, 12)


def method():
    """Completion: z to joint image in the upper row, the losses in the lower, the gradient back over the top."""
    search = SearchSettings()
    initial_kl, search_kl = (f"KL({kl.replace('-', ' || ')})" for kl in (search.init_kl, search.search_kl))
    initial = [f"best of N = {search.n_init} random z", f"by {initial_kl}"]
    y, low = 238, 404  # the middles of the rows
    half, left = 56, 446  # half the edge of a picture, left edge of the joint image
    sketch, photo, known, total = left + half, left + 3 * half, 132, 888  # the middles of columns
    scale = f"scale({half / 32})"
    parts = [
        box(24, 84, 216, 222, "#d5dae0"),
        step(48, 112, "1", "Refined initialization", initial),
        candidates(45, y),
        arrow((233, y), (272, y), colour=VIOLET),
        vector(277, y - 52, 2, VIOLET, across=False),
        text(283.5, y + 72, ["z"], 15, bold=True),
        arrow((296, y), (321, y)),
        frozen(367, y, "G", BLUE, 28, 60),
        arrow((413, y), (left - 6, y)),
        text(photo - half, y - half - 28, ["joint image G(z)"], bold=True),
        text(sketch, y - half - 9, ["sketch half"], 12, colour=GREY),
        text(photo, y - half - 9, ["photo half"], 12, colour=GREY),
        face(f"translate({left} {y - half}) {scale}", stroke=1.1),
        face(f"translate({left + 2 * half} {y - half}) {scale}"),
        arrow((photo + half + 6, y), (704, y)),
        frozen(751, y, "D", ORANGE, 60, 28),
        arrow((797, y), (total - 76, y)),
        loss(total, y, "perceptual loss", [f"{MINUS}log D(G(z)):", "how real D finds it"]),
        arrow((total, y + 34), (total, low - 34)),
        loss(total, low, "total loss", ["contextual", f"+ {search.lambda_:g} {TIMES} perceptual"]),
        face(f"translate({known - half} {low - half}) {scale}", stroke=2),
        text(known, low + half + 20, ["input sketch"], bold=True),
        arrow((known, low - half - 4), (known, 308)),
        arrow((known + half + 6, low), (sketch - 76, low)),
        arrow((sketch, y + half + 2), (sketch, low - 34)),
        loss(sketch, low, "contextual loss", [search_kl, "of the sketch halves"]),
        arrow((sketch + 76, low), (total - 76, low)),
        arrow((photo, y + half + 2), (photo, y + half + 32), colour=GREEN),
        step(photo, 344, "3", "Result", ["the photo half where", "the total is lowest"]),
        arrow((total + 76, low), (980, low), (980, 84), (283.5, 84), (283.5, y - 58), colour=RED, dashes="6 4"),
        step(314, 112, "2", "Search", ["the gradient of the total loss moves z alone"]),
    ]
    return page("Completion", "Find the z whose G(z) shows the input sketch; beside it is the photo.", 498, parts)


def main(args):
    for name in ("generator", "discriminator", "method"):
        command.check_file(Path(args.out, f"{name}.svg"), args.overwrite or args.out == "results")  # its figures
    command.import_tensorflow()
    from contextual_gan.files import images
    from contextual_gan.models import dcgan

    z, joint = f"z ~ U({MINUS}1, 1)", "joint image"
    drawings = {
        "generator": network(dcgan.generator(), "Generator G", BLUE, (z, joint)),
        "discriminator": network(dcgan.discriminator(), "Discriminator D", ORANGE, (joint, "logit")),
        "method": method(),
    }
    for name, drawing in drawings.items():
        path = Path(args.out, f"{name}.svg")
        images.replace_file(path, drawing.encode())
        print(path)
    return 0


if __name__ == "__main__":
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", default="results", metavar="DIR", help="folder for the figures (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    command.run(main, parser.parse_args())
