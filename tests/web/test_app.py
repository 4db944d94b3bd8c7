"""The page's server: its responses match the library's results, and refusals are one line."""

import base64
import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, draw_face, draw_photo
from serving import serving

from contextual_gan.completion.search import complete
from contextual_gan.files.images import decode_rgba, encode_png, read_bytes, to_float, to_uint8
from contextual_gan.models.inference import encode, generate
from contextual_gan.preparation.drawings import read_drawing
from contextual_gan.web import bodies, guard, server

SAMPLES = sorted((ROOT / "datasets/samples/sketches").glob("*.png"))


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


def rgb(png):
    return decode_rgba(base64.b64decode(png))[..., :3]


def z_of(found):
    return np.frombuffer(base64.b64decode(found["z"]), "<f4")


def events(body):
    return [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]


def png_header(width, height):
    """A PNG that claims a size, and holds nothing else."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", ihdr), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_face_matches_the_encoder_and_the_generator(site):
    drawing = draw_face(1, 512)
    status, _, body = site.post("/api/face", encode_png(drawing))
    assert status == 200
    answer = json.loads(body)
    sketch = read_drawing(drawing, crop="none")
    z = encode(site.live.encoders["photo"].network, to_float(sketch)[None])
    (found,) = answer["faces"]
    assert np.array_equal(rgb(answer["known"]), sketch)
    assert np.array_equal(z_of(found), z[0])
    assert np.array_equal(rgb(found["joint"]), to_uint8(generate(site.live.generator, z))[0])


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_the_search_ends_with_the_result_of_complete(site, direction):
    known = draw_face(2) if direction == "photo" else draw_photo(2)
    status, headers, body = site.post(
        f"/api/refine?direction={direction}&kind=known&samples=3&faithful=0.55", encode_png(known)
    )
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    first, *steps, last = events(body)
    assert first == {"ahead": 0} and last == {"done": True}
    assert [step["step"] for step in steps] == sorted(step["step"] for step in steps) and len(steps) > 5
    live = site.live
    expected = complete(
        live.generator,
        live.discriminator,
        known[None],
        encoder=live.encoders[direction],
        direction=direction,
        preset="edges",
        samples=3,
        faithful=0.55,
    )
    found = steps[-1]["faces"]
    assert np.array_equal([z_of(face) for face in found], expected.z[0])
    assert np.array_equal([rgb(face["joint"]) for face in found], to_uint8(expected.joints)[0])
    assert steps[-1]["step"] == steps[-1]["steps"] == expected.total.shape[-1]


def test_a_picture_is_read_like_complete_and_z_gives_its_face_again(site):
    status, _, body = site.post("/api/picture", read_bytes(SAMPLES[4]))
    answer = json.loads(body)
    assert status == 200 and answer["other"] is None
    assert np.array_equal(rgb(answer["known"]), read_drawing(decode_rgba(read_bytes(SAMPLES[4]))))
    face = json.loads(site.post("/api/face?kind=known", base64.b64decode(answer["known"]))[2])["faces"][0]
    again = json.loads(site.post("/api/z", base64.b64decode(face["z"]))[2])["faces"][0]
    assert again["joint"] == face["joint"] and again["z"] == face["z"]


def test_a_joint_is_recognised_by_its_size_and_both_halves_are_returned(site):
    joint = np.concatenate([draw_face(3), draw_photo(3)], axis=1)
    answer = json.loads(site.post("/api/picture", encode_png(joint))[2])
    assert np.array_equal(rgb(answer["known"]), joint[:, :64]) and np.array_equal(rgb(answer["other"]), joint[:, 64:])


def test_the_page_its_modules_and_samples_have_protective_headers(site):
    status, _, body = site.request("GET", "/api/about")
    samples = json.loads(body)["samples"]
    assert status == 200 and len(samples) == len(SAMPLES)
    for path in ("/", "/main.js", "/style.css", samples[0]):
        status, headers, body = site.request("GET", path)
        assert status == 200 and body
        assert (
            "script-src 'self'" in headers["content-security-policy"]
            and "unsafe" not in headers["content-security-policy"]
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert b"http://" not in body.replace(b"http://www.w3.org", b"") and b"https://" not in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "192.168.0.9"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
    ],
)
def test_other_sites_and_other_names_are_refused(site, headers, status):
    assert site.post("/api/face", encode_png(draw_face(0)), headers)[0] == status


def test_a_server_for_others_accepts_addresses_and_its_own_name():
    is_known = guard.known_hosts("0.0.0.0")
    assert is_known("192.168.0.9") and is_known("localhost") and is_known(socket.gethostname().lower())
    assert not is_known("evil.example") and not is_known("")
    assert guard.known_hosts("box.local")("box.local")


BAD = {
    "nothing": (b"", "empty"),
    "text": (b"hello" * 100, "not a PNG"),
    "a cut picture": (encode_png(draw_photo(0, 300, 300))[:9000], "damaged"),
    "a bomb": (png_header(60000, 60000), "megapixels"),
    "a huge canvas": (png_header(1200, 1200), "megapixel"),
    "a blank page": (encode_png(np.full((512, 512, 3), 255, np.uint8)), "blank"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("path", ["/api/face", "/api/refine"])
def test_an_invalid_drawing_is_refused_in_one_line(site, name, path):
    data, reason = BAD[name]
    status, _, body = site.post(path, data)
    line = json.loads(body)["error"]
    assert status == 422 and reason in line
    assert "\n" not in line and "Traceback" not in line and str(ROOT) not in line


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/face", bytes(2 * 10**6 + 1), 413),
        ("POST", "/api/picture", bytes(20 * 10**6 + 1), 413),
        ("POST", "/api/z", bytes(401), 413),
        ("POST", "/api/z", bytes(399), 422),
        ("POST", "/api/z", np.full(100, np.nan, "<f4").tobytes(), 422),
        ("POST", "/api/z", np.full(100, 1.5, "<f4").tobytes(), 422),
        ("POST", "/api/refine?faithful=2", b"x", 422),
        ("POST", "/api/refine?faithful=nan", b"x", 422),
        ("POST", "/api/refine?samples=5", b"x", 422),
        ("POST", "/api/face?page=../../etc", b"x", 422),
        ("POST", "/api/face?colour=red", b"x", 422),
        ("POST", "/api/face?kind=known", encode_png(draw_face(0, 65)), 422),
        ("POST", "/api/picture?crop=0,0,1,1", b"x", 422),
        ("GET", "/api/face", None, 405),
        ("GET", "/../../etc/passwd", None, 404),
        ("GET", "/samples/", None, 404),
        ("GET", "/server.py", None, 404),
        ("POST", "/", b"", 405),
    ],
)
def test_invalid_requests_are_refused(site, method, path, body, status):
    found, _, answer = site.request(method, path, body)
    assert found == status and "\n" not in json.loads(answer)["error"]


def test_pages_that_draw_at_the_same_time_get_their_own_faces(site):
    drawings = [encode_png(draw_face(seed)) for seed in range(8)]
    alone = [site.post("/api/face?kind=known", drawing)[2] for drawing in drawings]

    def draw(i):
        return [site.post(f"/api/face?kind=known&page=p{i}&number={n}", drawings[i])[2] for n in range(4)]

    def faces(body):
        return json.loads(body)["faces"]

    with ThreadPoolExecutor(8) as pool:
        for i, answers in enumerate(pool.map(draw, range(8))):
            assert all(faces(answer) == faces(alone[i]) for answer in answers)


def test_a_client_that_does_not_finish_its_request_is_disconnected(site, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(bodies, "SECONDS", 0.2)
    silent, slow = (socket.create_connection(("127.0.0.1", site.port), timeout=20) for _ in range(2))
    with silent, slow:
        silent.sendall(b"POST /api/face HTTP/1.1\r\nHost: localhost\r\nX-")
        slow.sendall(b"POST /api/face HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        with contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b""  # closed
        answer = b""
        while part := slow.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408") and b"took too long" in answer
    assert site.request("GET", "/")[0] == 200


def test_a_page_that_leaves_its_search_frees_its_place(site):
    body = encode_png(draw_face(5))
    head = f"POST /api/refine?kind=known HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
            client.sendall(head.encode() + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert events(site.post("/api/refine?kind=known", body)[2])[-1] == {"done": True}
    deadline = time.monotonic() + 30
    while json.loads(site.request("GET", "/api/about")[2])["queue"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(site.request("GET", "/api/about")[2])["queue"] == 0


def test_searches_wait_for_their_turn_without_mixing_results(site):
    bodies = [encode_png(draw_face(seed)) for seed in (6, 7, 8)]
    found = [None] * 3

    def refine(i):
        found[i] = events(site.post("/api/refine?kind=known", bodies[i])[2])

    threads = [threading.Thread(target=refine, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for body, seen in zip(bodies, found, strict=True):
        assert seen[-1] == {"done": True} and np.array_equal(rgb(seen[-2]["known"]), decode_rgba(body)[..., :3])
    assert max(event["ahead"] for seen in found for event in seen if "ahead" in event) >= 1


def hostile(site, number):
    """One of many hostile requests; the response is a refusal or nothing."""
    rng = np.random.default_rng(number)
    picture = encode_png(draw_photo(number, 200, 200))
    noise = rng.integers(0, 256, 2000, np.uint8).tobytes()
    body = [
        png_header(40000, 40000),
        png_header(6000, 4000),
        picture[: len(picture) // 2],
        picture[:60] + noise + picture[60:],
        noise,
        b"\xff\xd8" + noise,
        b"GIF89a" + noise,
        b"BM" + noise,
    ][number % 8]
    path = ("/api/face", "/api/refine", "/api/picture", "/api/z", "/api/face?kind=known", "/nowhere")[number % 6]
    if number % 5 == 0:  # cut off
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
            client.sendall(head.encode() + body)
        return 400
    headers = {"Host": "evil.example"} if number % 7 == 0 else {}
    return site.post(path, body, headers)[0]


@pytest.mark.parametrize("number", [32, pytest.param(1000, marks=pytest.mark.full)])
def test_after_hostile_requests_it_still_serves_and_memory_is_freed(site, number):
    def memory():
        text = Path("/proc/self/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1000

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(partial(hostile, site), range(32)))
        assert all(400 <= status < 500 for status in statuses)
        before = memory()
        statuses = list(pool.map(partial(hostile, site), range(number)))
        assert all(400 <= status < 500 for status in statuses)
    assert memory() < before + 100  # MB; a leak of one picture per request would soon exceed this
    assert site.post("/api/face", encode_png(draw_face(0)))[0] == 200
