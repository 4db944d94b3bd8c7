"""Figures of a run folder: the grid of all results, the candidates of refined initialization, rows to compare."""

import numpy as np

from contextual_gan.completion.initialization import chosen, initialize
from contextual_gan.completion.record import ROWS_PER_PAGE, page_names
from contextual_gan.files.images import enlarge, framed, grid, read_image, to_uint8, write_png
from contextual_gan.joint import DIRECTIONS
from contextual_gan.models.inference import generate

ROWS_PER_FIGURE = 24


def draw_pages(run, task, generator):
    """Draw the grid of all results as grid.png, grid_2.png, ...: known half, G of the initial z, completion, truth.

    Pages of which no result was searched for leave out G of the initial z, which is the completion.
    """
    stems = sorted(run.results)
    starts = range(0, len(stems), ROWS_PER_PAGE)
    for name, start in zip(page_names(len(stems)), starts, strict=True):
        page = stems[start : start + ROWS_PER_PAGE]
        middle = (len(page) + 1) // 2 if len(page) > 4 else len(page)  # two blocks side by side suit a screen better
        searched = any(np.any(run.results[stem]["iterations"]) for stem in page)
        blocks = [_block(run, task, generator, part, searched) for part in (page[:middle], page[middle:]) if part]
        write_png(run.out / name, side_by_side(blocks))


def side_by_side(blocks):
    """Put (H, W, 3) uint8 blocks beside each other on white, the highest first, aligned at the top."""
    height = blocks[0].shape[0]
    blocks = [np.pad(block, ((0, height - len(block)), (0, 0), (0, 0)), constant_values=255) for block in blocks]
    return np.concatenate(blocks, axis=1)


def in_blocks(rows, titles, labels, number):
    """`grid` of the rows, cut into `number` blocks of rows beside each other -> (H, W, 3) uint8."""
    size = -(-len(rows) // number)
    parts = (slice(start, start + size) for start in range(0, len(rows), size))
    return side_by_side([grid(rows[part], titles, labels[part]) for part in parts])


def _block(run, task, generator, stems, searched, scale=3):
    others = range(2, task.samples + 1)
    start = ["initial G(z)"] if searched else []
    titles = [DIRECTIONS[task.direction], *start, "completion", *(f"sample {k}" for k in others)]
    ends = ["_input.png", "_joint.png", *(f"_{task.direction}_{k}.png" for k in others)]
    if any(f"{stem}_truth.png" in run.results[stem]["outputs"] for stem in stems):
        titles.append("ground truth")
        ends.append("_truth.png")
    rows = []
    if missing := [stem for stem in stems if searched and stem not in run.initial_joints]:  # completed earlier
        joints = to_uint8(generate(generator, np.stack([run.initial_z[stem][0] for stem in missing])))
        run.initial_joints |= dict(zip(missing, joints, strict=True))
    for stem in stems:
        row = [read_image(path) if (path := run.out / (stem + end)).is_file() else None for end in ends]
        if searched:
            row.insert(1, run.initial_joints[stem])
        rows.append([cell if cell is None else enlarge(cell, scale) for cell in row])
    return grid(rows, titles, stems)


def draw_rows(folder, stem, rows, titles, labels, scale=2):
    """Draw rows of images into PNGs of at most 24 rows, named by `page_names` -> their names."""
    names = page_names(len(rows), stem, ROWS_PER_FIGURE)
    for name, start in zip(names, range(0, len(rows), ROWS_PER_FIGURE), strict=True):
        part = slice(start, start + ROWS_PER_FIGURE)
        page = grid([[enlarge(cell, scale) for cell in row] for row in rows[part]], titles, labels[part])
        write_png(folder / name, page)
    return names


def draw_initializations(run, task, generator, encoder=None, columns=6, scale=2):
    """Draw STEM_initializations.png if it is missing: the N candidates, with the selected ones framed in red."""
    for stem, entry in sorted(run.results.items()):
        output = f"{stem}_initializations.png"
        if output in entry["outputs"]:
            continue
        known = read_image(run.out / f"{stem}_input.png")
        z, divergence = initialize(
            generator,
            known[None],
            direction=task.direction,
            n_init=task.search.n_init,
            kl=task.search.init_kl,
            epsilon=task.search.epsilon,
            seed=task.seed,
            encoder=encoder,
            spread=task.search.spread,
        )
        cells = [enlarge(joint, scale) for joint in to_uint8(generate(generator, z[0]))]
        for i in chosen(divergence, task.samples, encoder)[0]:
            cells[i] = framed(cells[i])
        cells += [None] * (-len(cells) % columns)
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        red = [] if encoder is None else ["the encoder's"]
        red += [f"lowest KL({task.search.init_kl})"] if task.samples > len(red) else []
        title = f"{stem}: {task.search.n_init} initializations, red: {' and '.join(red)}"
        write_png(run.out / output, grid(rows, labels=[title] + [""] * (len(rows) - 1)))
        entry["outputs"].append(output)
    run.save()
