"""Serve a page on this machine for drawing faces and seeing matching photos."""

import os
import sys

from installed import command

EXAMPLES = """\
  python scripts/web.py --open
  python scripts/web.py --port 9000 --weights runs/celeba

Ctrl-C ends it. Nothing drawn or loaded is stored or leaves this machine.
Exit status: 0 ended by Ctrl-C, 2 usage error.
"""


def port(text):
    """An argparse type: the number of a port."""
    if not 0 <= (number := int(text)) <= 65535:
        raise command.argparse.ArgumentTypeError(f"{number} is not from 0 to 65535")
    return number


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=port, default=8000, help="port, or 0 for any free one (default: %(default)s)")
    weights = "celeba, celeba_paper, a .safetensors file or a run folder of train.py, with encoders (default: celeba)"
    parser.add_argument("--weights", default="celeba", help=weights)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser.parse_args()


def main(args):
    try:
        from contextual_gan.web.server import listen, serve
    except ModuleNotFoundError as error:
        raise command.UserError(f"{error}: run `pip install -e .[web]` in the repository, or `make web`") from error
    from contextual_gan.models.locations import pin

    try:
        with command.mistakes():
            listener, weights = listen(args.host, args.port), pin(args.weights)
        command.import_tensorflow()
        from contextual_gan.completion.live import Live

        with command.mistakes():
            live = Live(weights)
        serve(live, listener, args.host, about=str(args.weights), browser=args.open, debug=args.debug)
        sys.stdout.flush()
        os._exit(0)  # there is nothing to save, and unloading TensorFlow takes seconds
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    command.run(main, parse())
