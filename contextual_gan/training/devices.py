"""Training on several devices of one machine or of several, with tf.distribute: all of it that is not in the step.

Every device holds all variables and works on its share of each batch; gradients are summed over the devices before
they are used, so that all stay alike. Every machine makes the whole batch, which is a function of (seed, step).
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
LOST = (  # what TensorFlow raises when another worker has died, stopped, was cut off or started anew
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
)


def create(name):
    """The tf.distribute.Strategy for one device, for all of this machine (`mirrored`), for all of `multi-worker`s.

    The last waits until every worker is there. Raises ValueError if no server can be started for TF_CONFIG.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    print("waiting until all workers are there", file=sys.stderr, flush=True)
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

    Raises ValueError with one line if TF_CONFIG does not say which worker of which this one is.
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
    raise ValueError(f"multi-worker needs TF_CONFIG, the same everywhere but for the index, such as {EXAMPLE}")


def update_function(on_replica, strategy):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`, as a graph: on_replica on each device."""

    @tf.function(autograph=False)
    def update(batch, step):
        stats = strategy.run(on_replica, (batch, step))  # the same on all
        return {name: strategy.experimental_local_results(value)[0] for name, value in stats.items()}

    return update


def share(batch):
    """The part of a batch (n, ...) that this device works on: the first of equal parts goes to the first device."""
    device = tf.distribute.get_replica_context()
    parts = tf.reshape(batch, (device.num_replicas_in_sync, -1, *batch.shape[1:]))
    return parts[device.replica_id_in_sync_group]


def start_as_chief(strategy, variables, start, what):
    """Set the variables on all workers to the chief's values, which may be restored ones -> the chief's `start`.

    what: all that must be the same everywhere, as JSON knows it. Raises ValueError on a worker where it is not.
    """
    if strategy.cluster_resolver is None:  # one machine
        return start
    digest = int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest()[:7])
    (start, of_chief), *values = _from_chief(strategy, [tf.constant([start, digest], tf.int64), *variables])
    if of_chief != digest:
        raise ValueError("the settings, the number of steps or the names of the images are not the chief's")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(start)


def _from_chief(strategy, values):
    """The chief's values of some tensors and variables, on all workers -> list of tensors."""

    def on_replica():
        device = tf.distribute.get_replica_context()
        is_first = tf.equal(device.replica_id_in_sync_group, 0)
        # one by one: all_reduce() of a list wants one type, but counters are integers
        return [device.all_reduce("SUM", tf.where(is_first, value, tf.zeros_like(value))) for value in values]

    return [strategy.experimental_local_results(value)[0] for value in tf.function(strategy.run)(on_replica)]


@contextmanager
def lost_workers_named():
    """Raises ConnectionError with one line in place of the page that TensorFlow writes when a worker is gone."""
    try:
        yield
    except LOST as error:
        if "TF_CONFIG" not in os.environ:  # no other workers
            raise
        raise ConnectionError("another worker stopped or is out of reach: start all again with --resume") from error
