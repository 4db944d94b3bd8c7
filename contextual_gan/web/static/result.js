// The result: the photo, the two halves, the numbers, and the faces to choose from.

import { bytesOf, pngOf } from "/server.js";

const NUMBERS = [
  ["contextual", "Distance", "Between the generated half and yours (KL divergence); 0: equal."],
  ["consistency", "Strokes followed", "By the edges of the photo; 1: all of them."],
  ["score", "Likeness to a face", "Of the drawing; below 0.46, no face is recognised."],
  ["time", "Time", "From your last stroke to this picture."],
];

export class Result {
  constructor(page) {
    this.page = page; // {id: element}
    this.faces = [];
    this.chosen = 0;
    this.details = {};
  }

  // Show a response of the server. direction: the wanted half.
  async show({ faces, known, score }, direction, time) {
    const joints = await Promise.all(faces.map((found) => createImageBitmap(pngOf(found.joint))));
    this.faces = faces.map((found, i) => ({ ...found, bitmap: joints[i], png: pngOf(found.joint) }));
    this.chosen = Math.min(this.chosen, faces.length - 1);
    this.direction = direction;
    this.details = { score, time };
    await this.#showSeen(known);
    this.#showChoice();
    this.#showChosen();
  }

  // Show a saved joint image as it is; its z is unknown.
  async showJoint(file, known, direction) {
    const bitmap = await createImageBitmap(file);
    this.faces = [{ bitmap, png: file, contextual: null, consistency: null, z: null }];
    this.chosen = 0;
    this.direction = direction;
    this.details = {};
    await this.#showSeen(known);
    this.#showChoice();
    this.#showChosen();
  }

  clear() {
    this.faces = [];
    this.details = {};
    const { photo, seen, joint, waiting, halves } = this.page;
    for (const canvas of [photo, seen, joint]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    photo.setAttribute("aria-label", "No photo yet");
    waiting.hidden = false;
    halves.hidden = true;
    this.#showChoice();
    this.#showNumbers();
  }

  get face() {
    return this.faces[this.chosen];
  }

  zBytes() {
    return bytesOf(this.face.z);
  }

  // The wanted half of the chosen face on a canvas of this side.
  half(side, name = this.direction) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    drawHalf(canvas, this.face.bitmap, name);
    return canvas;
  }

  async #showSeen(known) {
    const canvas = this.page.seen;
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    if (known) canvas.getContext("2d").drawImage(await createImageBitmap(pngOf(known)), 0, 0);
  }

  #showChosen() {
    const { photo, joint, waiting, halves } = this.page;
    drawHalf(photo, this.face.bitmap, this.direction);
    joint.getContext("2d").drawImage(this.face.bitmap, 0, 0);
    const name = this.direction === "photo" ? "The photo of the face you drew" : "The sketch of your photo";
    const which = this.faces.length > 1 ? `, ${this.chosen + 1} of ${this.faces.length}` : "";
    photo.setAttribute("aria-label", name + which);
    waiting.hidden = true;
    halves.hidden = false;
    this.#showNumbers();
  }

  #showNumbers() {
    const values = { ...this.face, ...this.details };
    const rows = NUMBERS.filter(([key]) => typeof values[key] === "number").flatMap(([key, name, meaning]) => {
      const [term, small, value] = ["dt", "small", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      small.textContent = meaning;
      term.append(small);
      value.textContent = key === "time" ? `${Math.round(values.time)} ms` : values[key].toFixed(2);
      value.dataset.number = key;
      return [term, value];
    });
    this.page.numbers.replaceChildren(...rows);
  }

  #showChoice() {
    const { choice } = this.page;
    choice.hidden = this.faces.length < 2;
    const row = choice.querySelector(".row");
    if (choice.hidden) {
      row.replaceChildren();
      return;
    }
    if (row.children.length !== this.faces.length) row.replaceChildren(...this.faces.map((_, i) => this.#option(i)));
    this.faces.forEach((found, i) => drawHalf(row.children[i].querySelector("canvas"), found.bitmap, this.direction));
  }

  #option(i) {
    const [label, input, canvas] = ["label", "input", "canvas"].map((tag) => document.createElement(tag));
    Object.assign(input, { type: "radio", name: "face", value: i, checked: i === this.chosen });
    input.setAttribute("aria-label", `Face ${i + 1}`);
    input.addEventListener("change", () => {
      this.chosen = i;
      this.#showChosen();
    });
    canvas.width = canvas.height = 192;
    label.append(input, canvas);
    return label;
  }
}

function drawHalf(canvas, joint, name) {
  const half = document.createElement("canvas"); // cut out first: smoothing would mix in a column of the other half
  half.width = half.height = 64;
  half.getContext("2d").drawImage(joint, name === "photo" ? -64 : 0, 0);
  const draw = canvas.getContext("2d");
  draw.globalCompositeOperation = "copy"; // at its borders, an enlarged picture would mix with the one before
  draw.imageSmoothingQuality = "high";
  draw.drawImage(half, 0, 0, canvas.width, canvas.height);
}
