// What comes in, wherever on the page: what it is decides where it goes, and photos are shrunk here before they are sent.
//   await snapshelf.intake.receive(files)       pasted, dropped or chosen: open the tab that fits and hand them over
//   await snapshelf.intake.shrink(file)         → a File: small, upright, without the camera's data
//   await snapshelf.intake.put(elemId, files)   into an upload component of Gradio
//   snapshelf.intake.open(tab)                  classify, screenshot, sort, teach, accuracy, about
(() => {
  "use strict";
  window.snapshelf ??= {};

  const PHOTO_SIDE = 1024; // pixels of the longest side; the models look at 160 to 260
  const PAGE_WIDTH = 1080;
  const ENOUGH_BYTES = 100_000; // a second on a line of 750 kbit/s
  const STEPS = [[1, 0.9], [1, 0.8], [0.875, 0.8], [0.75, 0.8], [0.625, 0.8], [0.5, 0.8]]; // of the side, JPEG's quality
  const PAGE_STEPS = [[1, 0.95]]; // its small print shows where the products are
  const TALL = 1.7; // height by width of a phone's screen, at least
  const SCREEN_WIDTHS = new Set([
    320, 360, 375, 384, 390, 393, 402, 411, 412, 414, 428, 430, 440, 480, 540, 640, 720, 750, 768, 828, 1080, 1125, 1170,
    1179, 1206, 1220, 1242, 1260, 1284, 1290, 1320, 1344, 1440,
  ]);
  const FLAT = 0.35; // share of a screenshot's pixels that are like their neighbors, at least
  const MAKERS = /Apple|Canon|Google|HUAWEI|NIKON|OnePlus|SAMSUNG|samsung|SONY|Xiaomi|motorola|FUJIFILM|Panasonic/;
  const IMAGE_NAME = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf])$/i;
  const UNREADABLE = "We couldn't read this file. Use a JPG, PNG, WebP or HEIC.";
  const DECODE_TIME = 4000; // milliseconds; Chromium takes minutes for a JPEG of thousands of EXIF parts
  const ready = new WeakSet(); // files that need no more work
  const calledBefore = new Map(); // the names of files that were shrunk, by traits: Gradio sends another File object
  const names = new Map(); // of the visitor's files, by where the server put them
  const beyond = new WeakSet(); // files that this browser cannot decode
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  const traits = (file) => `${file.name}\n${file.size}`;
  const isZip = (file) => /\.zip$/i.test(file.name) || /zip/.test(file.type);
  const isSheet = (file) => /\.(csv|tsv)$/i.test(file.name); // titles of products, for Sort
  const isImage = (file) => file.type.startsWith("image/") || IMAGE_NAME.test(file.name);

  // ---- smaller

  // Null for HEIC in most browsers, for damaged files, and for what a browser would decode for ever: the server looks at
  // those.
  async function bitmapOf(file) {
    if (beyond.has(file)) return null;
    const decoded = createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
    const late = pause(DECODE_TIME).then(() => null);
    const bitmap = await Promise.race([decoded, late]);
    if (!bitmap) beyond.add(file);
    return bitmap;
  }

  function canvasOf(bitmap, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff"; // under what is transparent, as on the server
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, width, height);
    return canvas;
  }

  const encoded = (canvas, quality) => new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));

  function keep(file) {
    ready.add(file);
    return file;
  }

  // page: whether it is a screenshot; by default what it looks like.
  async function shrink(file, { page = null } = {}) {
    if (ready.has(file) || !isImage(file)) return file;
    const bitmap = await bitmapOf(file);
    if (!bitmap) return keep(file);
    const isPage = page ?? (await looksLikeScreenshot(file, bitmap));
    const factor = Math.min(1, isPage ? PAGE_WIDTH / bitmap.width : PHOTO_SIDE / Math.max(bitmap.width, bitmap.height));
    const isSmall = factor === 1 && (file.size <= ENOUGH_BYTES || (isPage && file.type === "image/jpeg"));
    const blob = isSmall ? null : await smaller(file, bitmap, factor, isPage ? PAGE_STEPS : STEPS);
    bitmap.close();
    if (!blob) return keep(file);
    const name = `${file.name.replace(/\.\w+$/, "")}.jpg`;
    const small = new File([blob], name, { type: "image/jpeg", lastModified: file.lastModified });
    calledBefore.set(traits(small), file.name);
    return keep(small);
  }

  // The first JPEG that is small enough, else the smallest; null where that is the file itself.
  async function smaller(file, bitmap, factor, steps) {
    let best = null;
    for (const [scale, quality] of steps) {
      const side = (length) => Math.max(1, Math.round(length * factor * scale));
      const blob = await encoded(canvasOf(bitmap, side(bitmap.width), side(bitmap.height)), quality);
      if (blob && blob.size < (best ?? file).size) best = blob;
      if (best?.size <= ENOUGH_BYTES) break;
    }
    return best;
  }

  // ---- what it is

  // A phone's screen is tall and flat, has the pixels of a device, and no camera wrote its name into the file.
  async function looksLikeScreenshot(file, bitmap) {
    if (!bitmap || bitmap.height < TALL * bitmap.width) return false;
    if (file.type === "image/png") return true;
    if (!SCREEN_WIDTHS.has(bitmap.width) || (await isFromCamera(file))) return false;
    return flatness(bitmap) >= FLAT;
  }

  async function isFromCamera(file) {
    const start = new TextDecoder("latin1").decode(await file.slice(0, 65_536).arrayBuffer());
    return start.includes("Exif\0\0") && MAKERS.test(start);
  }

  // The share of pixels in the middle that look like their left neighbors: high on pages, low on photos.
  function flatness(bitmap) {
    const width = bitmap.width, height = Math.min(bitmap.height, 640);
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(bitmap, 0, (bitmap.height - height) / 2, width, height, 0, 0, width, height);
    const { data } = pen.getImageData(0, 0, width, height);
    let same = 0;
    for (let at = 4; at < data.length; at += 4) {
      same += Math.abs(data[at] - data[at - 4]) + Math.abs(data[at + 1] - data[at - 3]) <= 2;
    }
    return same / (data.length / 4);
  }

  // ---- where it goes

  const visibleTab = () => document.querySelector('#tabs > [role="tabpanel"]:not([style*="none"])')?.id.replace("tab-", "");

  function open(tab) {
    const button = document.getElementById(`tab-${tab}-button`);
    if (button?.getAttribute("aria-selected") === "false") button.click();
  }

  async function destination(files) {
    const here = visibleTab();
    if (here === "sort" || files.some((file) => isZip(file) || isSheet(file))) return "sort";
    if (here === "screenshot") return here;
    if (files.length > 1) return "sort";
    const bitmap = await bitmapOf(files[0]);
    const isPage = await looksLikeScreenshot(files[0], bitmap);
    bitmap?.close();
    return isPage ? "screenshot" : "classify";
  }

  // where: the tab, by default what fits.
  async function receive(list, where = null) {
    const files = [...list].filter((file) => isZip(file) || isSheet(file) || isImage(file));
    if (!files.length) {
      if (list.length) say(UNREADABLE, "alert");
      return;
    }
    const from = visibleTab();
    where ??= await destination(files);
    open(where);
    if (where === "sort") return snapshelf.workbench.add(files); // these two shrink as they go
    if (where === "classify") return put("classify-image", [await shrink(files[0], { page: false })]);
    await snapshelf.screenshot.add(files);
    if (from === "classify") {
      offer("This looks like a screenshot, so we looked for products on it.", "Classify it as one photo", () =>
        receive(files, "classify"));
    }
  }

  // ---- into an upload component of Gradio

  let putting = false;

  async function put(elemId, files) {
    const field = await appeared(() => document.querySelector(`#${elemId} input[type=file]`));
    if (!field) return false;
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    putting = true;
    field.files = transfer.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    putting = false;
    return true;
  }

  async function appeared(find, milliseconds = 5000) {
    for (const end = performance.now() + milliseconds; performance.now() < end;) {
      const found = find();
      if (found) return found;
      await pause(30);
    }
    return null;
  }

  // ---- listening, before Gradio does

  const ownPlace = (event) => event.target.closest?.("[data-intake=own], #tab-teach, dialog"); // takes files itself
  const take = (event) => (event.preventDefault(), event.stopImmediatePropagation());

  window.addEventListener("dragover", (event) => {
    if (!ownPlace(event) && event.dataTransfer?.types.includes("Files")) event.preventDefault();
  }, true);

  window.addEventListener("drop", (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length || ownPlace(event)) return;
    take(event);
    receive(files, event.target.closest?.("#screenshot") ? "screenshot" : null);
  }, true);

  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || ownPlace(event)) return;
    take(event);
    receive(files);
  }, true);

  // A phone has nothing but the button to choose a photo with, so what is chosen in Classify may go elsewhere, too.
  window.addEventListener("change", (event) => {
    const field = event.target;
    if (putting || field.type !== "file" || !field.files.length) return;
    const place = field.closest("#classify-image, #site-actions");
    if (!place) return;
    const files = [...field.files];
    take(event);
    field.value = "";
    receive(files);
  }, true);

  // ---- on the way: what Gradio sends is shrunk, and how far it is can be seen

  const plainFetch = window.fetch.bind(window);
  window.fetch = async (address, options) => {
    const isUpload = options?.body instanceof FormData && /\/upload(\?|$)/.test(String(address));
    if (!isUpload) return plainFetch(address, options);
    const form = new FormData(), sent = [];
    for (const [name, value] of options.body) {
      const small = value instanceof File ? await shrink(value) : value;
      if (small instanceof File) {
        form.append(name, small, small.name);
        sent.push(calledBefore.get(traits(small)) ?? small.name);
      } else form.append(name, small);
    }
    const answer = await send(address, { ...options, body: form });
    const paths = await answer.clone().json().catch(() => []); // no list where it is refused
    sent.forEach((name, at) => names.set(paths[at], name));
    return answer;
  };

  // What the visitor's file is called that the server shows at this address; shrunk it may be a JPEG, and Gradio changes
  // some letters.
  const nameAt = (address) => names.get(decodeURIComponent(address.split("/file=")[1] ?? "")) ?? null;

  function send(address, { headers, body, credentials, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", address);
      request.withCredentials = credentials === "include";
      new Headers(headers).forEach((value, name) => request.setRequestHeader(name, value));
      request.upload.onprogress = ({ loaded, total }) => progress("Uploading", loaded / total);
      request.onload = () => resolve(new Response(request.response, { status: request.status }));
      request.onerror = request.onabort = () => reject(new TypeError("Failed to fetch"));
      request.onloadend = () => progress(null);
      signal?.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }

  // ---- one line at the bottom that says what goes on

  const SLOW = 400; // milliseconds after which progress is worth a word
  let began = 0, clearing = 0;

  function line() {
    let element = document.getElementById("intake-line");
    if (!element) {
      element = Object.assign(document.createElement("div"), { id: "intake-line", hidden: true });
      element.setAttribute("role", "status");
      (document.querySelector(".gradio-container") ?? document.body).append(element);
    }
    return element;
  }

  // share: from 0 to 1. what: null when it is over.
  function progress(what, share) {
    if (what === null) {
      began = 0;
      if (line().dataset.kind === "progress") line().hidden = true;
      return;
    }
    began ||= performance.now();
    if (performance.now() - began < SLOW) return;
    show("progress", `${what} ${Math.floor(100 * share)}%`);
    line().style.setProperty("--share", share);
  }

  function show(kind, text) {
    clearTimeout(clearing);
    const element = line();
    element.dataset.kind = kind;
    element.setAttribute("role", kind === "alert" ? "alert" : "status");
    element.textContent = text;
    element.hidden = false;
    return element;
  }

  function say(text, kind = "status") {
    show(kind, text);
    clearing = setTimeout(() => (line().hidden = true), 8000);
  }

  function offer(text, action, call) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: action });
    button.onclick = () => {
      line().hidden = true;
      call();
    };
    show("offer", `${text} `).append(button);
    clearing = setTimeout(() => (line().hidden = true), 20_000);
  }

  snapshelf.intake = { receive, shrink, put, open, looksLikeScreenshot, bitmapOf, nameAt, UNREADABLE };
})();
