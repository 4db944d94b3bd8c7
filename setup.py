"""Install with `pip install -e ".[align,plots,test,web]"`; `make demo` and `make test` do that in .venv."""

from setuptools import find_packages, setup

WEB = ["starlette>=0.49.1", "uvicorn>=0.34"]  # earlier Starlettes have known security holes

setup(
    name="contextual_gan",
    version="0.1.0",
    description="Sketch to photo by latent search: contextual GAN (arXiv 1711.08972) in TensorFlow 2 and Keras 3",
    license="MIT",  # the code; the weights have contextual_gan/pretrained/LICENSE
    packages=find_packages(include=["contextual_gan*"]),
    package_data={
        "contextual_gan.pretrained": ["*.safetensors", "*.json", "*.md", "LICENSE"],
        "contextual_gan.web": ["static/*", "static/samples/*.png"],  # samples: a link to datasets/samples/sketches
    },
    python_requires=">=3.11,<3.14",  # Keras 3.14 needs 3.11; TensorFlow has no wheels for 3.14 yet
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.14",  # earlier releases have known security holes
        "numpy>=2.0",
        "opencv-python-headless>=4.10",  # module cv2; the plain package needs libGL, which servers lack
        "dlib-bin>=20.0.0",  # module dlib; the plain package takes minutes to compile
        "scikit-image>=0.25",
        "pillow>=11.3",  # the first that reads AVIF
        "tensorboard>=2.18",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "safetensors>=0.4.5",
    ],
    extras_require={
        "align": ["face_recognition_models>=0.3.0"],  # dlib's face landmarks; its 68-point model is non-commercial
        "heic": ["pillow-heif>=1.1"],  # the photos of iPhones
        "cluster": ["distributed>=2025.1"],  # Dask, for preparing data on several machines
        "plots": ["matplotlib>=3.9"],  # the figures of results/
        "test": [
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            "distributed>=2025.1",
            "playwright>=1.49",  # drives a browser that is installed already, and downloads none
            "pillow-heif>=1.1",
            *WEB,
        ],
        "web": WEB,  # the page to draw on
    },
)
