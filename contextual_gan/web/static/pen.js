// Mouse, finger, stylus and keys, as strokes on the drawing.

import { SIDE } from "/drawing.js";

const STEP = 8; // pixels that an arrow key moves the pen; with Shift four times as far

export class Pen {
  // changed(isFinished): called while a stroke is drawn and when it ends.
  constructor(drawing, cursor, { changed, say }) {
    Object.assign(this, { drawing, cursor, changed, say });
    this.erases = false;
    this.width = 10;
    this.enabled = true;
    this.pointer = null; // id of the pointer that draws; a second finger is ignored
    this.place = { x: SIDE / 2, y: SIDE / 2 };
    this.isDown = false; // whether the keyboard's pen is down
    const canvas = drawing.canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#showCursor());
    canvas.addEventListener("blur", () => this.lift());
  }

  #point(event) {
    const box = this.drawing.canvas.getBoundingClientRect();
    // a mouse has no pressure (0.5 while a button is down); a stylus scales the width by 0.5 to 1.5
    const factor = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
    const x = ((event.clientX - box.left) / box.width) * SIDE;
    const y = ((event.clientY - box.top) / box.height) * SIDE;
    return { x, y, width: this.width * factor };
  }

  #down(event) {
    if (!this.enabled || this.pointer !== null || event.button > 0 && event.button !== 5) return;
    this.lift();
    this.cursor.hidden = true;
    this.pointer = event.pointerId;
    this.drawing.canvas.setPointerCapture(event.pointerId);
    this.drawing.begin(this.erases || event.button === 5, this.#point(event)); // 5: the eraser end of a stylus
    this.changed(false);
  }

  #move(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length ? events : [event]) this.drawing.extend(this.#point(part));
    this.changed(false);
  }

  #up(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.drawing.finish();
    this.changed(true);
  }

  // --- keys ---

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!this.enabled || event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      const far = event.shiftKey ? 4 * STEP : STEP;
      const [x, y] = moves[event.key].map((direction) => direction * far);
      this.place = { x: clip(this.place.x + x), y: clip(this.place.y + y) };
      if (this.isDown) {
        this.drawing.extend({ ...this.place, width: this.width });
        this.changed(false);
      }
    } else if (event.key === " ") {
      if (this.isDown) this.lift();
      else this.#set();
    } else {
      return;
    }
    event.preventDefault();
    this.#showCursor();
  }

  #set() {
    this.isDown = true;
    this.drawing.begin(this.erases, { ...this.place, width: this.width });
    this.changed(false);
    this.say(this.erases ? "Eraser down." : "Pen down.");
  }

  // Lift the keyboard's pen if it is down.
  lift() {
    if (this.isDown) {
      this.isDown = false;
      this.drawing.finish();
      this.changed(true);
      this.say("Pen lifted.");
    }
    this.cursor.hidden = true;
  }

  #showCursor() {
    if (!this.enabled || !this.drawing.canvas.matches(":focus-visible")) return;
    this.cursor.hidden = false;
    this.cursor.style.left = `${(100 * this.place.x) / SIDE}%`;
    this.cursor.style.top = `${(100 * this.place.y) / SIDE}%`;
    this.cursor.classList.toggle("down", this.isDown);
  }
}

function clip(x) {
  return Math.min(Math.max(x, 0), SIDE);
}
