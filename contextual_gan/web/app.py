"""The requests of the page: a face for a drawing, a stepwise search, reading a picture, a face from its z.

Request bodies are the pictures themselves; parameters are in the query. Responses are JSON, and a search is a stream of
events, with pictures as PNG in base64. Nothing is kept between two requests.
"""

import base64
import json
from contextlib import aclosing
from functools import partial
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from contextual_gan.files.images import MAX_BYTES, decode_rgba, encode_png, on_background
from contextual_gan.joint import SIZE
from contextual_gan.models.dcgan import LATENT
from contextual_gan.preparation import portraits
from contextual_gan.preparation.alignment import default_predictor
from contextual_gan.preparation.drawings import read_faces
from contextual_gan.preparation.framing import face_score
from contextual_gan.preparation.known import DRAWING_NOTE, NO_FACE_NOTE, PHOTO_NOTE, SEVERAL_NOTE, read_known
from contextual_gan.web.bodies import Bodies
from contextual_gan.web.guard import Guard, Refused, refusal
from contextual_gan.web.parameters import parameters
from contextual_gan.web.queue import Queue

FAITHFUL = 0.5  # initial value of the dial for drawings by people, which are not exact
CANVAS_BYTES, CANVAS_PIXELS = 2 * 10**6, 1024**2  # limits of a drawing made on the page
NOTES = {  # replace those of `known.read_known`, which are for users of complete.py
    SEVERAL_NOTE: "This file holds several pictures; the first is used.",
    NO_FACE_NOTE: "No face was recognised in this picture. Draw over it, or load it as it is.",
    PHOTO_NOTE: "This looks like a photograph. To draw a sketch of it, choose Photo to sketch.",
    DRAWING_NOTE: "This looks like a drawing. To turn it into a photo, choose Sketch to photo.",
    portraits.NO_FACE_NOTE: "No face was found in this photo; the square in its middle is used.",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def application(live, bound, *, about="", debug=False):
    """The ASGI application for one `completion.live.Live`, bound to the host `bound`; about: its weights."""
    page = Page(live, about)
    routes = [
        Route("/api/about", page.about),
        Route("/api/face", page.face, methods=["POST"]),
        Route("/api/refine", page.refine, methods=["POST"]),
        Route("/api/picture", page.picture, methods=["POST"]),
        Route("/api/z", page.from_z, methods=["POST"]),
        *(Route(path, partial(_file, content, kind)) for path, (content, kind) in page.files.items()),
    ]
    handlers = {Refused: _refused, HTTPException: _not_found, Exception: _failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), bound, debug), page.queue


async def _file(content, kind, request):
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


async def _refused(request, error):
    return refusal(error.status, str(error))


async def _not_found(request, error):
    return refusal(error.status_code, {404: "There is nothing here.", 405: "Wrong method."}.get(error.status_code))


async def _failed(request, error):
    return refusal(500, "Something went wrong in the server; see its terminal for details.")


class Page:
    """The requests of the page. The methods are Starlette endpoints; the threads of the queue do the work."""

    def __init__(self, live, about):
        self.live, self.weights = live, about
        self.queue, self.bodies = Queue(), Bodies()
        self.aligns = can_align()
        self.files = static_files()

    async def about(self, request):
        """The initial state of the page: the weights, the samples, the length of the queue."""
        names = sorted(path for path in self.files if path.startswith("/samples/"))
        # the result of an encoder that has not seen true joint images is blurred, so the search is free at first
        faithful = {"photo": FAITHFUL if self.live.learned_from_joints["photo"] else 1.0, "sketch": 1.0}
        about = {"weights": self.weights, "samples": names, "faithful": faithful, "queue": len(self.queue)}
        return _json(about)

    async def face(self, request):
        """The encoder's face for a drawing; a newer request from the same page replaces this one."""
        given = parameters(request, "direction", "kind", "page", "number")
        with self.queue.waiting(), self.queue.newest(given.page, given.number) as check:
            async with self.bodies.read(request, CANVAS_BYTES) as data:
                check()
                known, score = await self.queue.call("drawings", read_canvas, data, given.kind, given.direction)
            check()
            faces = await self.queue.call("model", partial(self.live.encode, known, direction=given.direction))
            check()
        return _json(described(faces, known, score) | {"queue": len(self.queue)})

    async def refine(self, request):
        """The search from that face, as a stream of events: {"ahead": n} while queued, faces, then {"done": true}."""
        given = parameters(request, "direction", "kind", "faithful", "samples", "seed")
        async with self.bodies.read(request, CANVAS_BYTES) as data:
            known, score = await self.queue.call("drawings", read_canvas, data, given.kind, given.direction)
        options = {name: getattr(given, name) for name in ("direction", "faithful", "samples", "seed")}
        events = self._search(known, score, options)
        first = await anext(events)  # any refusal must come before the response begins
        headers = {"cache-control": "no-store"}
        return StreamingResponse(_events(first, events), media_type="text/event-stream", headers=headers)

    async def _search(self, known, score, options):
        async with self.queue.search() as turn:
            yield {"ahead": len(self.queue) - 1}
            async for ahead in turn():
                yield {"ahead": ahead}
            steps = self.live.refine(known, **options)
            while faces := await self.queue.call("model", next, steps, None):
                yield described(faces, known, score) | {"queue": len(self.queue)}
        yield {"done": True}

    async def picture(self, request):
        """The known half of a picture from the user: the face in a drawing, or a photo."""
        given = parameters(request, "direction", "crop")
        is_photo = given.direction == "sketch"
        align = "auto" if is_photo and self.aligns and given.crop == "auto" else "off"
        crop = "auto" if is_photo else given.crop
        task = SimpleNamespace(direction=given.direction, crop=crop, joint="auto", faces="largest", align=align)
        async with self.bodies.read(request, MAX_BYTES) as data:
            known = await self.queue.call("pictures", _refusing, read_known, data, task)
        pictures = {"known": known[0].image, "other": known[0].other}
        pictures = {name: image if image is None else _base64(encode_png(image)) for name, image in pictures.items()}
        return _json(pictures | {"note": note_of(known[0]), "score": known[0].face})

    async def from_z(self, request):
        """The face of a saved z: 100 numbers, float32, little-endian."""
        given = parameters(request, "direction")
        with self.queue.waiting():
            async with self.bodies.read(request, 4 * LATENT) as data:
                if len(data) != 4 * LATENT:
                    raise Refused(422, f"This is not a z of {LATENT} numbers.")
            z = np.frombuffer(data, "<f4")[None]
            faces = await self.queue.call("model", _refusing, partial(self.live.generate, direction=given.direction), z)
        return _json(described(faces, None, None) | {"queue": len(self.queue)})


def read_canvas(data, kind, direction="photo"):
    """A drawing made on the page -> the input of the network, (64, 64, 3) uint8, and its likeness to a face.

    kind: "canvas" is read like complete.py --crop none; "known" is already (64, 64), as returned by `Page.picture`.
    Raises `Refused`.
    """
    rgba = _refusing(partial(decode_rgba, most=CANVAS_PIXELS), data)
    if kind == "known":
        if rgba.shape[:2] != (SIZE, SIZE):
            raise Refused(422, f"A picture of {SIZE} x {SIZE} pixels was expected.")
        known = on_background(rgba)
        return known, round(face_score(known), 3) if direction == "photo" else None
    sketch = _refusing(partial(read_faces, crop="none"), rgba)[0]
    return sketch.image, round(sketch.score, 3)


def note_of(known):
    """What the user should know about a picture, from its `known.Known`, or None."""
    notes = [text for note, text in NOTES.items() if note in (known.note or "")]
    if known.faces > 1:
        notes.append(f"{known.faces} faces were found; the largest is used.")
    if "turned" in (known.alignment or ""):
        notes.append("The photo was turned upright.")
    return " ".join(notes) or None


def can_align():
    """Whether dlib's models for aligning photos are installed."""
    try:
        default_predictor()
    except FileNotFoundError:
        return False
    return True


def described(faces, known, score):
    """`live.Faces` as JSON, with the network's input and its likeness to a face, or None."""
    found = [
        {
            "joint": _base64(encode_png(joint)),
            "z": _base64(z.astype("<f4").tobytes()),
            "contextual": float(contextual),
            "consistency": float(consistency),
        }
        for joint, z, contextual, consistency in zip(
            faces.joints, faces.z, faces.contextual, faces.consistency, strict=True
        )
    ]
    seen = None if known is None else _base64(encode_png(known))
    return {"faces": found, "known": seen, "score": score, "step": faces.step, "steps": faces.steps}


def static_files():
    """{path: (content, type)} of the page's files, read once: no request ever opens a file."""
    found = {}

    def add(folder, prefix):
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                add(entry, f"{prefix}{entry.name}/")
            elif kind := TYPES.get("." + entry.name.rpartition(".")[2]):
                found[prefix + entry.name] = entry.read_bytes(), kind

    add(files("contextual_gan.web") / "static", "/")
    found["/"] = found.pop("/index.html")
    return found


async def _events(first, rest):
    async with aclosing(rest):  # leave the queue at once when the page stops reading
        yield _event(first)
        async for event in rest:
            yield _event(event)


def _event(content):
    return f"data: {json.dumps(content, allow_nan=False)}\n\n".encode()


def _json(content):
    return JSONResponse(content, headers={"cache-control": "no-store"})


def _base64(data):
    return base64.b64encode(data).decode()


def _refusing(function, *args):
    """function(*args); its ValueErrors are reported to the page."""
    try:
        return function(*args)
    except ValueError as error:
        raise Refused(422, str(error)) from error
