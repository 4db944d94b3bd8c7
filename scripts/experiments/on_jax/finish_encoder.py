"""Write what train_encoder.py (JAX) trained as the encoder file of some weights, with its curvature (TensorFlow).

    python scripts/experiments/on_jax/finish_encoder.py --weights runs/jax/weights.safetensors --direction photo \\
        --encoder encoder.safetensors --steps 4000 --joint-images 24647
"""

import argparse
from pathlib import Path

from safetensors.numpy import load_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--direction", required=True, choices=("photo", "sketch"))
    parser.add_argument("--encoder", required=True, metavar="FILE", help="from train_encoder.py")
    parser.add_argument("--steps", required=True, type=int, help="that it was trained for, to be recorded")
    parser.add_argument("--joint-images", required=True, type=int, help="that it was trained on, to be recorded")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing encoder of the weights")
    args = parser.parse_args()
    from contextual_gan.models import tensors
    from contextual_gan.models.encoder import Encoder, encoder
    from contextual_gan.models.locations import encoder_file, pin
    from contextual_gan.models.weights import load_networks, save_encoder
    from contextual_gan.training.encoder import curvature

    weights = pin(args.weights)
    path = Path(encoder_file(weights, args.direction))
    if path.exists() and not args.overwrite:
        parser.error(f"{path} exists; --overwrite replaces it")
    found = load_file(args.encoder)
    width = found["encoder/conv0.kernel"].shape[-1]
    (network,) = tensors.load(args.encoder, found, lambda n: (encoder(n),), width)
    generator, _ = load_networks(weights, needs_discriminator=False)
    about = {"generator_sha256": weights.sha256, "direction": args.direction}
    about |= {"steps": args.steps, "joint_images": args.joint_images}
    save_encoder(path, Encoder(network, curvature(generator, args.direction)), about)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
