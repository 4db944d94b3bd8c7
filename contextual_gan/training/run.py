"""Training on joint images: the part that is common to all networks."""

import hashlib
import os

from contextual_gan import config
from contextual_gan.preparation.splits import few
from contextual_gan.training import dcgan, loop, pix2pix
from contextual_gan.training.batches import damage_named, joint_batches, read_joints
from contextual_gan.training.devices import lost_workers_named, start_as_chief
from contextual_gan.training.run_folder import warn

NETWORKS = {config.TrainSettings: dcgan, config.Pix2PixSettings: pix2pix}  # settings -> their module


def about(folder, files):
    """A line that identifies a set of images."""
    names = "\n".join(os.path.relpath(path, folder) for path in files)
    return f"{len(files)} joint images, SHA-256 of their names {hashlib.sha256(os.fsencode(names)).hexdigest()[:16]}"


def steps_of(epochs, images, batch_size):
    """The number of steps in `epochs` passes over the training images: at least 1, but 0 for 0 epochs."""
    return max(round(epochs * images / batch_size), int(epochs > 0))


def train_on_joints(run, files, shown, *, steps, strategy, resume=False, show=lambda n: None):
    """Train on joint images -> (step at the start, step at the end). Raises the errors of `loop.train` and `batches`.

    run: a `RunFolder`, whose settings determine the networks; files: from `joint_files`; shown: those drawn in
    samples/; strategy: from `create`. show(n): progress of reading n joints.
    Raises ValueError if the devices cannot share a batch equally or the workers train on different data,
    and ConnectionError if a worker is gone.
    """
    settings, networks = run.settings, NETWORKS[type(run.settings)]
    if settings.batch_size % (devices := strategy.num_replicas_in_sync):
        raise ValueError(f"batch_size is {settings.batch_size}, which {devices} devices cannot share equally")
    with damage_named(files), lost_workers_named():
        with strategy.scope():
            model = networks.build(settings)
        start = run.restore(model) if resume else 0
        if settings.init_from and start == 0:  # a started run no longer needs these weights
            networks.start_from(model, settings)
        same = [config.resolved(settings), steps, run.about]
        start = start_as_chief(strategy, model.variables, start, same)
        if start >= steps:
            return start, start
        pixels = hashlib.sha256()
        endless = joint_batches(
            files,
            batch_size=settings.batch_size,
            seed=settings.seed,
            start=start,
            flip=settings.flip,
            cache_bytes=int(settings.cache_gb * 1e9),
            progress=show,
            digest=pixels,
        )
        joints = read_joints(shown)
        run.begin(start, pixels.hexdigest()[:16])  # only now: damaged images must not start a run

        def say(line):
            warn(run, line)

        if line := few(len(files)):
            say(line)

        pictures = networks.pictures_function(model, settings, joints, say)
        judge = networks.judge_function(model, settings, files, run.stats(), say)
        update = networks.update_function(model, settings, strategy, steps)
        asked = {"pictures": pictures, "judge": judge}
        if loop.has_another_schedule(settings, run.stats(), steps):
            say(f"the learning rate now reaches 0 at step {steps}, unlike when the run was started")
        return start, loop.train(run, model, update, endless, start=start, steps=steps, **asked)
