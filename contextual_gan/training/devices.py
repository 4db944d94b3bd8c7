"""Training on several devices of one or more machines with tf.distribute: everything except the step itself.

Every device holds all variables and processes its share of each batch; gradients are summed over the devices before
they are applied, so all copies stay equal. Every machine makes the whole batch, which depends only on (seed, step).
"""

import hashlib
import json
import os
import signal
import sys
from contextlib import contextmanager

import tensorflow as tf

EXAMPLE = (
    """TF_CONFIG='{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'"""
)
LOST = (  # TensorFlow's errors when another worker has died, stopped, lost its connection or restarted
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
)


def create(name):
    """The tf.distribute.Strategy for one device, this whole machine (`mirrored`), or several (`multi-worker`).

    The last one waits for every worker. Raises ValueError if no server can be started for TF_CONFIG.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    print("waiting for all workers", file=sys.stderr, flush=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python cannot act on Ctrl-C while TensorFlow waits
    try:
        with lost_workers_named():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        raise ValueError(f"TF_CONFIG: {error.message} (are the addresses right and the port free?)") from error
    finally:
        signal.signal(signal.SIGINT, handler)


def is_chief(name):
    """Whether this process writes the run: of several workers, only the first does.

    Raises ValueError in one line if TF_CONFIG does not list the workers and the index of this one.
    """
    if name != "multi-worker":
        return True
    try:
        given = json.loads(os.environ["TF_CONFIG"])
        workers, task = given["cluster"]["worker"], given["task"]
        if isinstance(workers, list) and task["type"] == "worker" and task["index"] in range(len(workers)):
            return task["index"] == 0
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"multi-worker needs TF_CONFIG, the same on all workers except for the index, such as {EXAMPLE}")


def update_function(on_replica, strategy):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`: a graph that runs on_replica on each device."""

    @tf.function(autograph=False)
    def update(batch, step):
        stats = strategy.run(on_replica, (batch, step))  # the same on all devices
        return {name: strategy.experimental_local_results(value)[0] for name, value in stats.items()}

    return update


def share(batch):
    """This device's part of a batch (n, ...): the first device gets the first of equal parts."""
    device = tf.distribute.get_replica_context()
    parts = tf.reshape(batch, (device.num_replicas_in_sync, -1, *batch.shape[1:]))
    return parts[device.replica_id_in_sync_group]


def start_as_chief(strategy, variables, start, what):
    """Set the variables on all workers to the chief's values, which may be restored ones -> the chief's `start`.

    what: JSON values that must be equal on all workers. Raises ValueError on a worker where they differ.
    """
    if strategy.cluster_resolver is None:  # one machine
        return start
    digest = int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest()[:7])
    (start, of_chief), *values = _from_chief(strategy, [tf.constant([start, digest], tf.int64), *variables])
    if of_chief != digest:
        raise ValueError("the settings, the number of steps or the names of the images differ from the chief's")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(start)


def _from_chief(strategy, values):
    """The chief's values of some tensors and variables, on all workers -> list of tensors."""

    def on_replica():
        device = tf.distribute.get_replica_context()
        is_first = tf.equal(device.replica_id_in_sync_group, 0)
        # one by one: all_reduce() of a list needs a single type, but counters are integers
        return [device.all_reduce("SUM", tf.where(is_first, value, tf.zeros_like(value))) for value in values]

    return [strategy.experimental_local_results(value)[0] for value in tf.function(strategy.run)(on_replica)]


@contextmanager
def lost_workers_named():
    """Raise ConnectionError in one line instead of TensorFlow's page of text when a worker is gone."""
    try:
        yield
    except LOST as error:
        if "TF_CONFIG" not in os.environ:  # no other workers
            raise
        raise ConnectionError("another worker stopped or is unreachable: restart all workers with --resume") from error
