// The drawing: a list of operations, drawn on a canvas. Undo removes the last one, redo restores it.

export const SIDE = 512; // pixels of the page; the network sees 64

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.operations = [];
    this.undone = [];
    this.render();
  }

  // Begin a stroke that erases or draws. `extend` adds points to it.
  begin(erases, point) {
    this.operations.push({ kind: "stroke", erases, points: [point] });
    this.undone = [];
    this.#segment(this.operations.at(-1), 0);
  }

  extend(point) {
    const stroke = this.operations.at(-1);
    const last = stroke.points.at(-1);
    if (Math.hypot(point.x - last.x, point.y - last.y) < 1) return;
    stroke.points.push(point);
    this.#segment(stroke, stroke.points.length - 1);
  }

  // Start the drawing from a picture: `image` is drawn over the page; `known` (a Blob of 64 x 64 pixels) is what
  // the network sees of it as long as nothing is drawn on it.
  place(image, known) {
    this.#push({ kind: "picture", image, known });
  }

  clear() {
    if (!this.isEmpty()) this.#push({ kind: "clear" });
  }

  undo() {
    if (!this.operations.length) return;
    this.undone.push(this.operations.pop());
    this.render();
  }

  redo() {
    if (!this.undone.length) return;
    this.operations.push(this.undone.pop());
    this.render();
  }

  isEmpty() {
    const last = this.#current();
    return !last.some((operation) => operation.kind === "picture" || (operation.kind === "stroke" && !operation.erases));
  }

  // The content to send: {blob, kind}. A picture on which nothing has been drawn is sent as it was read.
  async content() {
    const last = this.operations.at(-1);
    if (last?.kind === "picture" && last.known) return { blob: last.known, kind: "known" };
    return { blob: await this.png(), kind: "canvas" };
  }

  png() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  render() {
    this.context.fillStyle = "#fff";
    this.context.fillRect(0, 0, SIDE, SIDE);
    for (const operation of this.#current()) {
      if (operation.kind === "picture") {
        this.context.imageSmoothingQuality = "high";
        this.context.drawImage(operation.image, 0, 0, SIDE, SIDE);
      } else if (operation.kind === "stroke") {
        operation.points.forEach((_, i) => this.#segment(operation, i));
      }
    }
  }

  // The operations since the page was last covered.
  #current() {
    const first = this.operations.findLastIndex((operation) => operation.kind !== "stroke");
    return this.operations.slice(Math.max(first, 0));
  }

  #push(operation) {
    this.operations.push(operation);
    this.undone = [];
    this.render();
  }

  // Draw the part of a stroke that ends at point i. Parts are drawn separately, so redrawing gives the same pixels.
  #segment({ erases, points }, i) {
    const draw = this.context;
    draw.strokeStyle = draw.fillStyle = erases ? "#fff" : "#000";
    draw.lineCap = draw.lineJoin = "round";
    const [before, from, to] = [points[Math.max(i - 2, 0)], points[Math.max(i - 1, 0)], points[i]];
    draw.beginPath();
    if (i === 0) {
      draw.arc(to.x, to.y, to.width / 2, 0, 2 * Math.PI);
      draw.fill();
      return;
    }
    draw.lineWidth = (from.width + to.width) / 2;
    if (i === 1) draw.moveTo(from.x, from.y);
    else draw.moveTo((before.x + from.x) / 2, (before.y + from.y) / 2);
    draw.quadraticCurveTo(from.x, from.y, (from.x + to.x) / 2, (from.y + to.y) / 2);
    draw.stroke();
  }

  // End a stroke by drawing its last half segment, which waited for the next point.
  finish() {
    const stroke = this.operations.at(-1);
    if (stroke?.kind === "stroke" && stroke.points.length > 1) {
      const end = stroke.points.at(-1);
      stroke.points.push({ ...end });
      this.#segment(stroke, stroke.points.length - 1);
    }
  }
}
