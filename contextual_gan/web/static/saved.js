// Files that the page saves and recognises: its own drawings (PNG with a mark), and z (NumPy's .npy).

const MARK = "contextual_gan drawing";
const HEAD = 33; // bytes of a PNG up to the end of its first chunk
const MAGIC = "\x93NUMPY\x01\0";

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function pngOfCanvas(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// The PNG with a text chunk that marks it as a drawing of this page, so no face needs to be searched for in it.
export async function marked(png) {
  const bytes = new Uint8Array(await png.arrayBuffer());
  return new Blob([bytes.slice(0, HEAD), textChunk(`Software\0${MARK}`), bytes.slice(HEAD)], { type: "image/png" });
}

export async function isMarked(file) {
  const start = await file.slice(0, HEAD + 12 + 9 + MARK.length).arrayBuffer();
  return latin(new Uint8Array(start)).slice(HEAD).includes(MARK);
}

function textChunk(text) {
  const body = Uint8Array.from(`tEXt${text}`, (character) => character.charCodeAt(0));
  const chunk = new DataView(new ArrayBuffer(body.length + 8));
  chunk.setUint32(0, body.length - 4);
  new Uint8Array(chunk.buffer).set(body, 4);
  chunk.setUint32(body.length + 4, crc32(body));
  return chunk.buffer;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

// --- z ---

// 400 bytes, 100 little-endian float32 -> a file that np.load reads as an array (100,).
export function npy(bytes) {
  const text = "{'descr': '<f4', 'fortran_order': False, 'shape': (100,), }";
  const header = text.padEnd(128 - 10 - 1) + "\n"; // with the magic and its length, a multiple of 64
  const head = MAGIC + String.fromCharCode(header.length, 0) + header;
  return new Blob([Uint8Array.from(head, (character) => character.charCodeAt(0)), bytes]);
}

export async function isNpy(file) {
  return latin(new Uint8Array(await file.slice(0, 6).arrayBuffer())) === MAGIC.slice(0, 6);
}

// The bytes of z in a file of `npy`, or of np.save. Throws an Error with one line.
export async function readNpy(file) {
  if (file.size > 4096) throw new Error("This .npy file is too large for a z, which is 100 numbers.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const length = bytes[8] + 256 * bytes[9];
  const header = latin(bytes.slice(10, 10 + length));
  const values = bytes.slice(10 + length);
  if (!/'<f4'.*False.*\((1, )?100,?\)/s.test(header) || values.length !== 400) {
    throw new Error("This .npy file is not a z: it should hold 100 numbers of type float32.");
  }
  return values;
}

function latin(bytes) {
  return String.fromCharCode(...bytes);
}
