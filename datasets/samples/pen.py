"""The pen of `draw.py`: one stroke that wobbles, drifts, overshoots, and swells with pressure."""

import cv2
import numpy as np

SUPERSAMPLE = 4  # strokes are drawn hard-edged at this multiple and averaged down
MIDDLE = 0.493  # of the face, not of the frame, as in the aligned training photos
BOTH = (-1, 1)
LEFT, RIGHT = (-1,), (1,)
# name: (paper, ink) as RGB, and how strongly the grain of the paper breaks up the ink
PAPERS = {
    "white": ((255, 255, 255), (0, 0, 0), 0.0),
    "grey": ((215, 213, 205), (48, 46, 50), 0.25),
    "black": ((22, 24, 24), (240, 240, 234), 0.28),
    "pencil": ((250, 249, 246), (84, 84, 90), 0.2),
    "charcoal": ((240, 236, 228), (40, 38, 38), 0.4),
    "lined": ((251, 251, 247), (26, 44, 128), 0.1),
    "board": ((40, 68, 58), (236, 238, 228), 0.3),
}
RULES = (172, 192, 224)  # of lined paper, RGB
HEAD = 0.62  # radius of a head seen from above, in frame widths


def place(points, x=MIDDLE, y=0.0, side=1, size=1.0, tilt=0.0):
    """Points around an origin -> frame coordinates; side=-1 mirrors, tilt (radians) lowers the outer end."""
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return np.asarray(points, float) * size @ turn * (side, 1) + (x, y)


def spline(points, n=160):
    """(k, 2) control points -> (n, 2) points on the Catmull-Rom curve through all of them."""
    p = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, len(p) - 3, n)
    i = np.minimum(t.astype(int), len(p) - 4)
    f = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))


def turned(points, angle):
    """Points on a face seen from the front -> where they are if the head turns by `angle` (radians) to the right."""
    x = points[:, 0] - MIDDLE
    depth = np.sqrt(np.maximum(HEAD**2 - x**2, 0))
    x = x * np.cos(angle) + (depth - 0.75 * HEAD) * np.sin(angle)  # the face as a whole stays in the middle
    return np.stack([x + MIDDLE, points[:, 1]], 1)


class Pen:
    """One sheet and the hand that draws on it.

    size: (width, height) in pixels; width: of a stroke of weight 1, in pixels; frame: left, top and edge of the face
    frame in pixels (default: the largest centred square); shake: unsteadiness of the hand, 1 is usual; passes: number
    of times each line is drawn; flat: lines of constant width, without pressure; turn: of the head, in radians.
    """

    def __init__(
        self, seed, size=(256, 256), width=8.0, frame=None, shake=1.0, passes=1, paper="white", flat=False, turn=0.0
    ):
        self.rng = np.random.default_rng(seed)
        self.size, self.width, self.shake, self.passes, self.paper = size, width, shake, passes, paper
        self.flat, self.turn = flat, turn
        edge = min(size)
        self.frame = frame or ((size[0] - edge) / 2, (size[1] - edge) / 2, edge)
        self.ink = np.zeros((size[1] * SUPERSAMPLE, size[0] * SUPERSAMPLE), np.uint8)
        # nobody judges proportions exactly: the whole face leans and bulges a little, the same for all its strokes
        self.lean = self.rng.normal(0, 0.35, (2, 2)), self.rng.uniform(0, 2 * np.pi, 2)

    def waves(self, s, shortest, longest):
        """A smooth random function of the arc length s, about 1 in size."""
        lengths, phases = self.rng.uniform(shortest, longest, 4), self.rng.uniform(0, 2 * np.pi, 4)
        return np.sin(2 * np.pi * s[:, None] / lengths + phases).sum(1) * 0.7

    def stroke(self, points, weight=1.0, fill=False, ink=255):
        """Draw through points (frame coordinates); fill also blackens the enclosed area; ink=0 leaves paper."""
        for _ in range(self.passes):
            p, rng, shake = np.array(points, float), self.rng, self.shake
            if self.turn:
                p = turned(p, self.turn)
            p[0] -= (p[1] - p[0]) * rng.uniform(-0.06, 0.1) * shake
            p[-1] += (p[-1] - p[-2]) * rng.uniform(-0.1, 0.15) * shake
            centre = p.mean(0)
            p = place(p - centre, *(centre + rng.normal(0, 0.004, 2) * shake), tilt=rng.normal(0, 0.025) * shake)
            p += 0.016 * shake * np.sin(2 * np.pi * p @ self.lean[0] + self.lean[1])
            curve = spline(p)
            s = np.r_[0, np.cumsum(np.hypot(*np.diff(curve, axis=0).T))]
            # a short flick of the wrist is steadier than a long line from the arm
            for size, waves in ((0.0042 * min(1, s[-1] / 0.35), (0.2, 0.6)), (0.0006, (0.04, 0.1))):
                curve += size * shake * np.stack([self.waves(s, *waves), self.waves(s, *waves)], 1)
            swell = np.sin(np.pi * (s / s[-1]).clip(0, 1) ** rng.uniform(0.6, 1.5)) ** 0.6
            light = rng.uniform(0.3, 0.65)
            press = light + (1.08 - light) * swell + 0.08 * self.waves(s, 0.1, 0.4)
            if self.flat:
                press = np.ones_like(s)
            self._lay(curve, press * weight * self.width, fill, ink)

    def _lay(self, curve, widths, fill, ink):
        left, top, edge = self.frame
        xy = (np.array([left, top]) + curve * edge) * SUPERSAMPLE
        if fill:
            cv2.fillPoly(self.ink, [np.round(xy).astype(np.int32)], ink)
        steps = np.linspace(0, len(xy) - 1, max(2, int(np.hypot(*np.diff(xy, axis=0).T).sum() / 2)))
        radii = np.maximum(widths, 1.0) * SUPERSAMPLE / 2
        dots = np.stack([np.interp(steps, np.arange(len(xy)), v) for v in (*xy.T, radii)], 1)
        for x, y, r in np.round(dots * 16).astype(int).tolist():  # 4 fractional bits keep slow curves from stepping
            cv2.circle(self.ink, (x, y), r, ink, -1, cv2.LINE_8, 4)

    def mirrored(self, points, weight=1.0, sides=BOTH):
        for side in sides:
            self.stroke(place(points, side=side), weight)

    def strands(self, first, last, count, weight=0.6, loose=0.012, sides=BOTH, ink=255):
        """Draw `count` strokes that change gradually from `first` to `last` (equally many points): hair, hatching."""
        first, last = np.asarray(first, float), np.asarray(last, float)
        for t in np.linspace(0, 1, count):
            for side in sides:
                p = first + (last - first) * t + self.rng.normal(0, loose, first.shape)
                self.stroke(place(p, side=side), weight * self.rng.uniform(0.65, 1.25), ink=ink)

    def smudge(self, blur=0.03):
        """Rub everything drawn so far with a finger; blur is in frame widths."""
        self.ink = cv2.GaussianBlur(self.ink, (0, 0), blur * self.frame[2] * SUPERSAMPLE)

    def page(self):
        """The finished sheet, (height, width, 3) uint8 RGB."""
        ink = cv2.resize(self.ink, self.size, interpolation=cv2.INTER_AREA)[..., None] / 255
        paper, colour, tooth = (np.array(v, float) for v in PAPERS[self.paper])
        if self.paper == "lined":
            lines = np.arange(len(ink)) % (len(ink) // 13) < 2
            paper = np.where(lines[:, None, None], RULES, paper)
        if tooth:
            noise = self.rng.normal(size=ink.shape[:2])
            grain = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma * 2 for sigma in (0.7, 3))[..., None]
            ink = cv2.GaussianBlur(ink, (0, 0), 0.7)[..., None] * np.clip(1 - tooth * (grain + 0.5), 0.1, 1)
            y, x = np.mgrid[0 : 1 : ink.shape[0] * 1j, 0 : 1 : ink.shape[1] * 1j]
            shadow = 1.03 - 0.13 * (0.6 * x + 0.8 * y) ** 2  # the light comes from the upper left
            paper = paper * shadow[..., None] + grain
        return np.clip(np.round(paper * (1 - ink) + colour * ink), 0, 255).astype(np.uint8)
