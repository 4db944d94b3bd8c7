"""The page in a real browser: drawing, undoing, refining, the dial, saving and opening, two pages at once."""

import base64
import io
import math
import re
import shutil
from itertools import zip_longest

import numpy as np
import pytest
from conftest import ROOT, draw_photo
from PIL import Image
from serving import serving

from contextual_gan.files.images import decode_rgba, encode_png, read_bytes

playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")
SAMPLE = ROOT / "datasets/samples/sketches/02_glasses.png"
SLOW = 60_000  # milliseconds, the limit for every wait on a busy machine


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # containers run as root, where Chromium has no sandbox; it opens our page only
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, site):
    """open_page(**options): a new, loaded page; at the end, no page may have errors on its console."""
    contexts, complaints = [], []

    def open_page(**options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        page.goto(site.url)
        page.locator("#samples img").last.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def arc(x, y, width, height, start=0, stop=360, number=10):
    angles = [math.radians(start + (stop - start) * i / number) for i in range(number + 1)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


EYES = [arc(140, 77, 50, 22), arc(367, 77, 50, 22)]
FACE = [*EYES, arc(140, 42, 68, 26, 200, 340), arc(253, 225, 55, 22, 180, 0), arc(253, 330, 92, 50, 180, 0)]


def draw(page, *strokes):
    """Draw strokes, [(x, y)] on a page of 512 x 512, with the mouse."""
    box = page.locator("#paper").bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"] / 512, box["y"] + y * box["height"] / 512) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def pixels(page, canvas="photo"):
    """The pixels of a canvas of the page, (h, w, 4) uint8."""
    data = page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas)
    return decode_rgba(base64.b64decode(data.partition(",")[2]))


def status(page, text):
    playwright.expect(page.locator("#status")).to_contain_text(re.compile(text), timeout=SLOW)


def settled(page):
    """Wait until no face is pending -> the photo."""
    playwright.expect(page.locator("#view")).to_have_attribute("aria-busy", "false", timeout=SLOW)
    return pixels(page)


def number(page, name):
    return float(page.locator(f"[data-number={name}]").inner_text())


def turn_dial(page, value):
    page.locator("#faithful").fill(value)
    settled(page)
    status(page, "Refined in")


def saved(page, what):
    """The bytes of a file saved by the page."""
    with page.expect_download() as download:
        page.locator(f"[data-save={what}]").click()
    return read_bytes(download.value.path())


def put(page, name, data, kind="image/png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})


def test_draw_undo_redo_refine_and_turn_the_dial(open_page):
    page = open_page()
    assert page.locator("#refine").is_disabled()
    draw(page, *EYES)
    eyes, drawing = settled(page), pixels(page, "paper")
    draw(page, *FACE[2:])
    face = settled(page)
    assert not np.array_equal(face, eyes)
    for _ in FACE[2:]:
        page.keyboard.press("Control+z")
    assert np.array_equal(settled(page), eyes) and np.array_equal(pixels(page, "paper"), drawing)
    for _ in FACE[2:]:
        page.keyboard.press("Control+y")
    assert np.array_equal(settled(page), face)

    before = number(page, "contextual")
    page.locator("#faithful").evaluate("dial => { dial.value = 0.5; }")
    page.locator("#refine").click()
    status(page, "Refined in")
    assert number(page, "contextual") < before and not np.array_equal(pixels(page), face)
    refined, plausible = pixels(page), number(page, "contextual")
    turn_dial(page, "1")
    assert number(page, "contextual") <= plausible and not np.array_equal(pixels(page), refined)
    turn_dial(page, "0")
    assert np.array_equal(pixels(page), face)  # the encoder's
    turn_dial(page, "0.5")
    assert np.array_equal(pixels(page), refined)

    page.locator("#clear").click()
    playwright.expect(page.locator("#waiting")).to_be_visible()
    assert page.locator("#refine").is_disabled()


def test_one_of_four_faces_is_chosen_and_a_search_is_stopped(open_page):
    page = open_page()
    page.locator("#samples button").nth(1).click()
    settled(page)
    page.locator("#four").click()
    status(page, "4 faces found")
    first = pixels(page)
    page.get_by_role("radio", name="Face 3").check()
    assert not np.array_equal(pixels(page), first)
    page.locator("#refine").click()
    page.locator("#stop").click()
    status(page, "Stopped")
    playwright.expect(page.locator("#stop")).to_be_hidden()


def test_saved_files_give_the_same_result_when_opened(open_page):
    page = open_page()
    draw(page, *FACE)
    settled(page)
    page.locator("#refine").click()
    status(page, "Refined in")
    files = {what: saved(page, what) for what in ("photo", "large", "joint", "drawing", "z")}
    joint = decode_rgba(files["joint"])
    assert joint.shape == (64, 128, 4) and decode_rgba(files["large"]).shape == (512, 512, 4)
    assert np.array_equal(decode_rgba(files["photo"]), joint[:, 64:])
    z = np.load(io.BytesIO(files["z"]))
    assert z.shape == (100,) and z.dtype == np.float32
    photo, drawing = pixels(page), pixels(page, "paper")

    for what, name in (("z", "face_z.npy"), ("joint", "face_joint.png")):
        other = open_page()
        put(other, name, files[what])
        status(other, "saved z|saved joint")
        assert np.array_equal(pixels(other), photo)
        assert np.array_equal(pixels(other, "joint")[..., :3], joint[..., :3])
    other = open_page()
    put(other, "drawing.png", files["drawing"])
    settled(other)
    assert np.array_equal(pixels(other, "paper"), drawing)
    other.locator("#refine").click()
    status(other, "Refined in")
    assert np.array_equal(pixels(other), photo)


def test_an_unusable_file_is_reported_in_one_line_and_the_drawing_stays(open_page):
    page = open_page()
    draw(page, *EYES)
    photo, drawing = settled(page), pixels(page, "paper")
    alert = page.locator("#alert")
    bad = {
        "text.png": b"hello",
        "cut.png": encode_png(draw_photo(0, 300, 300))[:9000],
        "z.npy": b"\x93NUMPY" + bytes(9),
    }
    for name, data in bad.items():
        put(page, name, data)
        playwright.expect(alert).to_contain_text(name, timeout=SLOW)
        assert "\n" not in alert.locator("span").inner_text()
        assert np.array_equal(pixels(page, "paper"), drawing) and np.array_equal(pixels(page), photo)
    alert.get_by_role("button").click()
    playwright.expect(alert).to_be_hidden()


def test_two_pages_at_once_each_get_their_own_face(open_page):
    pages = open_page(), open_page()
    drawings = FACE, EYES
    alone = []
    for page, strokes in zip(pages, drawings, strict=True):
        draw(page, *strokes)
        alone.append(settled(page))
        page.locator("#clear").click()
    for strokes in zip_longest(*drawings):  # in turn
        for page, stroke in zip(pages, strokes, strict=True):
            draw(page, *filter(None, [stroke]))
    assert all(np.array_equal(settled(page), face) for page, face in zip(pages, alone, strict=True))


def test_drawing_continues_on_the_sketch_of_a_photo(open_page):
    page = open_page()
    page.get_by_text("Photo to sketch").click()
    assert page.locator("#pen").is_disabled()
    photo = np.asarray(Image.fromarray(draw_photo(1)).resize((200, 160)))
    put(page, "photo.png", encode_png(photo))
    sketch = settled(page)
    page.locator("#refine").click()
    status(page, "Refined in")
    assert not np.array_equal(pixels(page), sketch)
    page.locator("#draw-on").click()
    settled(page)
    draw(page, *EYES)
    settled(page)
    assert page.locator("#pen").is_enabled() and (pixels(page, "paper")[..., 0] < 128).any()


def test_the_keyboard_can_draw(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    while page.evaluate("() => document.activeElement.id") != "paper":
        page.keyboard.press("Tab")
    playwright.expect(page.locator("#cursor")).to_be_visible()
    page.keyboard.press("Space")
    status(page, "Pen down")
    for key in ("ArrowRight", "Shift+ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("Space")
    settled(page)
    ink = pixels(page, "paper")[..., 0] < 128
    assert ink[256, 260] and ink[280, 264] and ink[288, 258] and ink.mean() < 0.01


@pytest.mark.parametrize("width", [360, 390, 768])
def test_the_page_fits_a_narrow_screen_and_fingers_draw(open_page, width):
    page = open_page(viewport={"width": width, "height": 800}, has_touch=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.locator("#paper").scroll_into_view_if_needed()
    page.locator("#paper").tap()
    settled(page)
    assert (pixels(page, "paper")[..., 0] < 128).any()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(open_page, event):
    page = open_page()
    script = """([event, data]) => {
        const files = new DataTransfer();
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        files.items.add(new File([bytes], "face.png", { type: "image/png" }));
        const options = { bubbles: true, dataTransfer: files, clipboardData: files };
        const kind = event === "drop" ? DragEvent : ClipboardEvent;
        document.body.dispatchEvent(new kind(event, options));
    }"""
    page.evaluate(script, [event, base64.b64encode(read_bytes(SAMPLE)).decode()])
    settled(page)
    assert (pixels(page, "paper")[..., 0] < 128).mean() > 0.05


def test_a_stylus_draws_wider_where_it_is_pressed_harder(open_page):
    page = open_page()
    box, pen = page.locator("#paper").bounding_box(), page.context.new_cdp_session(page)
    for y, force in ((0.25, 0.1), (0.75, 1.0)):
        for kind, x in (("mousePressed", 0.3), ("mouseMoved", 0.5), ("mouseMoved", 0.7), ("mouseReleased", 0.7)):
            place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            pressed = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen", "force": force}
            pen.send("Input.dispatchMouseEvent", {"type": kind, **place, **pressed})
    settled(page)
    ink = pixels(page, "paper")[..., 0] < 128
    assert 0 < 1.5 * ink[:256].sum() < ink[256:].sum()
