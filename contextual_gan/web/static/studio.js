// The page's actions: show a face after each stroke, search on request, open and save files.

import * as server from "/server.js";
import { SIDE } from "/drawing.js";
import * as saved from "/saved.js";

const PAUSE = 500; // minimum milliseconds between two faces while a stroke is being drawn

export class Studio {
  // drawings: {direction wanted: Drawing}; say(text): the status line; complain(text): the line of errors.
  constructor({ page, drawings, pen, result, say, complain }) {
    Object.assign(this, { page, drawings, pen, result, say, complain });
    this.direction = "photo";
    this.live = null; // the AbortController of the pending request for a face
    this.search = null; // the same for the search
    this.samples = 1;
    this.lastLive = 0;
    this.opened = 0; // files so far: the last one wins
    this.opening = 0; // files that are being read
  }

  get drawing() {
    return this.drawings[this.direction];
  }

  setDirection(direction) {
    this.stop();
    this.pen.lift();
    this.direction = direction;
    this.pen.drawing = this.drawing;
    this.drawing.render();
    this.result.clear();
    this.changed(true);
  }

  // The drawing has changed; isFinished: no stroke is being drawn.
  changed(isFinished) {
    this.stop();
    this.showControls();
    if (!isFinished && (this.live || performance.now() - this.lastLive < PAUSE)) return;
    this.showFace();
  }

  // Show the encoder's face for the current drawing. Returns when it is shown or a newer one has replaced it.
  async showFace() {
    const since = (this.lastLive = performance.now());
    this.live?.abort();
    if (this.drawing.isEmpty()) {
      this.live = null;
      this.say("Ready.");
      this.result.clear();
      this.showControls();
      return;
    }
    const control = (this.live = new AbortController());
    const direction = this.direction;
    this.showControls();
    try {
      const answer = await server.face(await this.drawing.content(), direction, control.signal);
      if (control.signal.aborted) return;
      await this.result.show(answer, direction, performance.now() - since);
      this.complain("");
      this.say(direction === "photo" ? "The photo follows your drawing." : "A sketch of your photo.");
      this.showQueue(answer.queue);
    } catch (error) {
      if (error.name !== "AbortError" && error.status !== 409) this.complain(error.message);
    } finally {
      if (this.live === control) this.live = null;
      this.showControls();
    }
  }

  // Search for `samples` faces, and show each step.
  async refine(samples = 1) {
    if (this.drawing.isEmpty()) return;
    this.stop();
    this.pen.lift();
    this.live?.abort();
    this.samples = samples;
    const control = (this.search = new AbortController());
    const [direction, faithful, since] = [this.direction, this.page.faithful.value, performance.now()];
    this.showControls();
    this.showProgress(0);
    try {
      const options = { direction, faithful, samples };
      for await (const event of server.refine(await this.drawing.content(), options, control.signal)) {
        if (control.signal.aborted) return;
        if (event.faces) {
          await this.result.show(event, direction);
          this.showProgress(event.step / event.steps);
          this.showQueue(event.queue - 1); // without this one
        } else if (event.done) {
          const seconds = ((performance.now() - since) / 1000).toFixed(1);
          this.say(samples > 1 ? `${samples} faces found in ${seconds} s; choose one.` : `Refined in ${seconds} s.`);
        } else {
          this.say(event.ahead ? `Waiting: ${event.ahead} before you.` : "Searching for a face that fits better.");
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") this.complain(error.message);
    } finally {
      if (this.search === control) this.#endSearch();
    }
  }

  stop(text) {
    if (!this.search) return;
    this.search.abort();
    if (text) this.say(text);
    this.#endSearch();
  }

  #endSearch() {
    this.search = null;
    this.showProgress(null);
    this.showControls();
  }

  // --- files ---

  async open(file) {
    this.stop();
    this.pen.lift();
    const number = ++this.opened;
    const isNewest = () => number === this.opened;
    this.opening++;
    this.showControls();
    this.complain("");
    this.say("Reading the file.");
    try {
      if (await saved.isNpy(file)) await this.#openZ(file, isNewest);
      else if (this.direction === "photo" && (await saved.isMarked(file))) await this.#openDrawing(file, isNewest);
      else await this.#openPicture(file, isNewest);
    } catch (error) {
      if (!isNewest()) return;
      this.say("Nothing was opened.");
      this.complain(`${file.name || "The picture"}: ${error.message}`);
    } finally {
      this.opening--;
      this.showControls();
    }
  }

  async #openZ(file, isNewest) {
    const answer = await server.faceOfZ(await saved.readNpy(file), this.direction);
    if (!isNewest()) return;
    this.live?.abort();
    await this.result.show(answer, this.direction);
    this.say("This is the face of the saved z.");
  }

  async #openDrawing(file, isNewest) {
    const image = await createImageBitmap(file);
    if (!isNewest()) return;
    this.drawing.place(image, null);
    await this.showFace();
  }

  async #openPicture(file, isNewest) {
    const direction = this.direction;
    const crop = this.page.find.checked ? "auto" : "none";
    const found = await server.picture(file, direction, crop);
    const known = server.pngOf(found.known);
    const image = await createImageBitmap(known);
    if (!isNewest() || direction !== this.direction) return;
    this.drawing.place(image, known);
    if (found.other) {
      this.live?.abort();
      await this.result.showJoint(file, found.known, direction);
      this.say("This is a saved joint image: its two halves.");
    } else {
      await this.showFace();
    }
    if (found.note) this.complain(found.note);
  }

  // Put the sketch of a photo on the page, to continue drawing.
  drawOn() {
    const sketch = this.result.half(SIDE, "sketch");
    this.setDirection("photo");
    this.drawing.place(sketch, null);
    this.changed(true);
  }

  async save(what) {
    const { result } = this;
    const name = result.direction === "sketch" ? "sketch" : "photo";
    if (what === "drawing") saved.save("drawing.png", await saved.marked(await this.drawing.png()));
    if (!result.face) return;
    if (what === "photo") saved.save(`face_${name}.png`, await saved.pngOfCanvas(result.half(64)));
    if (what === "large") saved.save(`face_${name}_512.png`, await saved.pngOfCanvas(result.half(SIDE)));
    if (what === "joint") saved.save("face_joint.png", result.face.png);
    if (what === "z" && result.face.z) saved.save("face_z.npy", saved.npy(result.zBytes()));
  }

  // --- controls and progress ---

  showControls() {
    const { page, drawing, result } = this;
    const [isEmpty, isSketch] = [drawing.isEmpty(), this.direction === "sketch"];
    page.undo.disabled = !drawing.operations.length;
    page.redo.disabled = !drawing.undone.length;
    page.clear.disabled = isEmpty;
    page.refine.disabled = page.four.disabled = isEmpty;
    this.#swapStop();
    page.hint.hidden = drawing.operations.length > 0;
    page.pen.disabled = page.eraser.disabled = page.width.disabled = isSketch;
    page.view.setAttribute("aria-busy", Boolean(this.live || this.search || this.opening));
    page["draw-on"].hidden = !isSketch || !result.face;
    for (const button of document.querySelectorAll("[data-save]")) {
      const what = button.dataset.save;
      button.disabled = what === "drawing" ? isEmpty || isSketch : !result.face || (what === "z" && !result.face.z);
    }
  }

  // Stop replaces Refine during a search; the keyboard's focus moves with the button.
  #swapStop() {
    const [shown, other] = this.search ? [this.page.stop, this.page.refine] : [this.page.refine, this.page.stop];
    const isFocused = document.activeElement === other;
    shown.hidden = false;
    other.hidden = true;
    if (isFocused) shown.focus();
  }

  showProgress(share) {
    this.page.progress.hidden = share === null;
    this.page.progress.value = share ?? 0;
  }

  showQueue(waiting) {
    this.page.queue.textContent = waiting > 0 ? `Requests waiting: ${waiting}.` : "";
  }
}
