// Images to be sent with a question, as data URLs.

const MOST = 8;
// Models scale larger ones down themselves.
const LARGEST_SIDE = 1536;
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"];

/** The images among some files, and a message about those that cannot be sent. */
export async function readImages(files, room = MOST) {
  const images = [], failed = [];
  for (const file of [...files].slice(0, room)) {
    try { images.push(await read(file)); } catch { failed.push(file.name || "a file"); }
  }
  if (files.length > room) return { images, problem: `At most ${MOST} images go with one question.` };
  return { images, problem: failed.length ? `Not an image that this browser can read: ${failed.join(", ")}.` : "" };
}

export const roomFor = (images) => MOST - images.length;

async function read(file) {
  const bitmap = await createImageBitmap(file);
  const scale = LARGEST_SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1 && SENT_AS_THEY_ARE.includes(file.type)) return dataUrl(file);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * Math.min(scale, 1)) || 1;
  canvas.height = Math.round(bitmap.height * Math.min(scale, 1)) || 1;
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL(file.type === "image/jpeg" ? "image/jpeg" : "image/png", 0.9);
}

function dataUrl(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", fail);
    reader.readAsDataURL(file);
  });
}

/** Small pictures of images; with `remove`, a button on each calls it with the image's place. */
export function thumbnails(images, remove) {
  return images.map((url, place) => {
    const box = document.createElement(remove ? "button" : "span");
    box.className = "thumbnail";
    if (remove) {
      box.type = "button";
      box.setAttribute("aria-label", `Remove image ${place + 1}`);
      box.addEventListener("click", () => remove(place));
    }
    if (url) box.append(Object.assign(new Image(), { src: url, alt: `image ${place + 1}` }));
    else box.textContent = "image, not kept";
    return box;
  });
}
