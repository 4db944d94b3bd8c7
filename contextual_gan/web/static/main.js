// The page: its elements, buttons and keys.

import { Drawing } from "/drawing.js";
import { Pen } from "/pen.js";
import { Result } from "/result.js";
import * as server from "/server.js";
import { Studio } from "/studio.js";

const TEXTS = {
  photo: {
    lead: "The photo follows while you draw.",
    hint: "Draw here: eyes, nose, mouth. It need not be good.",
    waiting: "The photo appears here.",
    result: "Photo",
  },
  sketch: {
    lead: "Open a photo of a face to get a sketch of it.",
    hint: "Open a photo, drop one here, or paste it.",
    waiting: "The sketch appears here.",
    result: "Sketch",
  },
};

const faithful = { photo: 1, sketch: 1 }; // initial values of the dial; the server replaces them
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const canvas = page.paper;
const drawings = { photo: new Drawing(canvas), sketch: new Drawing(canvas) };
const result = new Result(page);
const pen = new Pen(drawings.photo, page.cursor, { changed: (isFinished) => studio.changed(isFinished), say });
const studio = new Studio({ page, drawings, pen, result, say, complain });

function say(text) {
  page.status.textContent = text;
}

function complain(text) {
  page.alert.querySelector("span").textContent = text;
  page.alert.hidden = !text;
}

// --- buttons ---

function chooseTool(erases) {
  pen.erases = erases;
  page.pen.setAttribute("aria-pressed", !erases);
  page.eraser.setAttribute("aria-pressed", erases);
}

function setWidth(width) {
  page.width.value = width;
  pen.width = Number(page.width.value);
}

function change(action) {
  pen.lift();
  studio.drawing[action]();
  studio.changed(true);
}

function toggleGuide() {
  const isShown = page.guide.getAttribute("aria-pressed") !== "true";
  page.guide.setAttribute("aria-pressed", isShown);
  showGuide();
}

function showGuide() {
  const isShown = page.guide.getAttribute("aria-pressed") === "true";
  page.outline.toggleAttribute("hidden", !isShown || studio.direction === "sketch");
}

function setDirection(direction) {
  document.querySelector(`input[name="direction"][value="${direction}"]`).checked = true;
  const texts = TEXTS[direction];
  for (const name of ["lead", "hint", "waiting"]) page[name].textContent = texts[name];
  document.querySelector('[data-save="photo"]').textContent = texts.result;
  document.querySelector('[data-save="large"]').textContent = `${texts.result}, enlarged`;
  page.samples.hidden = direction === "sketch";
  pen.enabled = direction === "photo";
  showGuide();
  page.faithful.value = faithful[direction];
  showDial();
}

const ACTIONS = {
  pen: () => chooseTool(false),
  eraser: () => chooseTool(true),
  undo: () => change("undo"),
  redo: () => change("redo"),
  clear: () => change("clear"),
  guide: toggleGuide,
  refine: () => studio.refine(1),
  four: () => studio.refine(4),
  stop: () => studio.stop("Stopped; this is the best face so far."),
  open: () => page.file.click(),
  "draw-on": () => {
    studio.drawOn();
    setDirection("photo");
  },
};
for (const [id, action] of Object.entries(ACTIONS)) page[id].addEventListener("click", action);
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => studio.save(button.dataset.save));
}
page.alert.querySelector("button").addEventListener("click", () => complain(""));
page.width.addEventListener("input", () => setWidth(page.width.value));
page.faithful.addEventListener("input", showDial);
page.faithful.addEventListener("change", () => studio.refine(studio.samples));
for (const input of document.querySelectorAll('input[name="direction"]')) {
  input.addEventListener("change", () => {
    studio.setDirection(input.value);
    setDirection(input.value);
  });
}

function showDial() {
  page["faithful-value"].textContent = Number(page.faithful.value).toFixed(2);
}

// --- keys ---

const KEYS = { p: "pen", e: "eraser", x: "clear", g: "guide", o: "open", r: "refine", f: "four" };

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    const action = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
    if (action && !page[action].disabled) ACTIONS[action]();
    if (action) event.preventDefault();
    return;
  }
  if (key === "escape" && studio.search) ACTIONS.stop();
  if (event.altKey || !page.keys.checked) return;
  const action = KEYS[key];
  if (action && !page[action].disabled) ACTIONS[action]();
  if (key === "[" || key === "]") setWidth(pen.width + (key === "[" ? -2 : 2));
  if (key === "s" && !event.shiftKey) studio.save("photo");
});

// --- files: by button, drop, paste, and our samples ---

page.file.addEventListener("change", () => {
  if (page.file.files[0]) studio.open(page.file.files[0]);
  page.file.value = ""; // the same file may be opened again
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files][0];
  if (file) studio.open(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) studio.open(event.dataTransfer.files[0]);
});

function addSample(path) {
  const [button, image] = ["button", "img"].map((tag) => document.createElement(tag));
  const name = path.replace(/.*\/\d*_?|\.png$/g, "").replaceAll("_", " ");
  Object.assign(button, { type: "button", title: name });
  Object.assign(image, { src: path, alt: `Start from the sample: ${name}`, loading: "lazy" });
  button.append(image);
  button.addEventListener("click", async () => {
    const blob = await (await fetch(path)).blob();
    studio.open(new File([blob], `${name}.png`, { type: blob.type }));
  });
  page.samples.append(button);
}

// --- start ---

setWidth(10);
setDirection("photo");
studio.showControls();
server.about().then(
  (about) => {
    page.about.textContent = `Weights: ${about.weights}.`;
    Object.assign(faithful, about.faithful);
    page.faithful.value = faithful[studio.direction];
    showDial();
    about.samples.forEach(addSample);
  },
  (error) => complain(error.message),
);
