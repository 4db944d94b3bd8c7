"""Take a screenshot of the page with one of our samples and four faces for it, in an installed Chromium."""

import shutil

from installed import command
from web_latency import page_server

EXAMPLES = """\
  python scripts/experiments/draw_page.py --out results/web.png --overwrite
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="PNG", help="the picture")
    parser.add_argument("--sample", type=command.positive, default=1, help="which sample, from 1 (default: 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    return parser.parse_args()


def main(args):
    command.check_file(args.out, args.overwrite)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise command.UserError(f"there is no browser: install one of {', '.join(BROWSERS)}")
    from contextual_gan.files.images import replace_file

    with page_server() as (port, _):
        replace_file(args.out, picture(browser, f"http://127.0.0.1:{port}/", args.sample))
    print(f"picture: {args.out}")
    return 0


def picture(browser, url, sample):
    """A screenshot of the page with a sample and four faces: the bytes of a PNG."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as driver:
        # containers run as root, where Chromium has no sandbox; it opens our page only
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = window.new_page(viewport={"width": 1180, "height": 1000})
        page.goto(url)
        page.locator("#samples button").nth(sample - 1).click()
        expect(page.locator("#numbers")).to_contain_text("Time")
        page.locator("#four").click()
        expect(page.locator("#status")).to_contain_text("4 faces found", timeout=60_000)
        page.mouse.move(0, 0)
        page.locator("main").scroll_into_view_if_needed()
        return page.screenshot(full_page=True)


if __name__ == "__main__":
    command.run(main, parse())
