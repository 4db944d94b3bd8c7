// The page's requests to its server. Every refusal becomes an Error with one line to show.

const PAGE = crypto.getRandomValues(new Uint32Array(4)).join("-"); // identifies this page's requests
let number = 0;

export const MOST_BYTES = 20e6;

// The encoder's face for a drawing, {blob, kind}. Only the newest of this page's requests is answered.
export async function face({ blob, kind }, direction, signal) {
  return (await post("/api/face", { direction, kind, page: PAGE, number: ++number }, blob, signal)).json();
}

// The search that starts from that face, step by step: yields {ahead} while it waits, {faces, step, steps}, and at last
// {done}.
export async function* refine({ blob, kind }, options, signal) {
  const answer = await post("/api/refine", { kind, ...options }, blob, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let isDone = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const content = JSON.parse(event.slice("data: ".length));
      isDone ||= content.done;
      yield content;
    }
  }
  if (!isDone) throw new Error("The search was cut off; the server may have stopped.");
}

// What the network sees of a picture file, {known, other, note}.
export async function picture(file, direction, crop) {
  if (file.size > MOST_BYTES) throw new Error(`${(file.size / 1e6).toFixed(1)} MB is too large; the limit is 20 MB.`);
  return (await post("/api/picture", { direction, crop }, file)).json();
}

// The face of a z: the bytes of 100 float32.
export async function faceOfZ(bytes, direction) {
  return (await post("/api/z", { direction }, bytes)).json();
}

export async function about() {
  return (await request("/api/about")).json();
}

function post(path, parameters, body, signal) {
  return request(`${path}?${new URLSearchParams(parameters)}`, { method: "POST", body, signal });
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not respond; it may have stopped.");
  }
  if (answer.ok) return answer;
  const content = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(content.error ?? `The server refused this (${answer.status}).`), { status: answer.status });
}

// --- bytes ---

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

export function pngOf(base64) {
  return new Blob([bytesOf(base64)], { type: "image/png" });
}
