// Sort: from what was dropped to rows. Zips are unpacked (workbench_zips.js) and photos shrunk here, and a sheet with
// the columns file and title gives the products' titles.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const MAX_ROWS = 2000;
  const MAX_DROPPED = 20_000; // files in folders
  const THUMBNAIL = 360; // pixels of the longest side
  const LEFT_BEHIND = new Set([
    "__macosx",
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "lost+found",
    "network trash folder",
    "temporary items",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
  ]); // as app/system_files.py
  const FILE_COLUMNS = /^(file|file ?name|image|image ?name|photo|path|id)$/i;
  const TITLE_COLUMNS = /^(title|name|product|product ?(name|title|display ?name))$/i;
  const NOT_IMAGES = /\.(txt|pdf|docx?|json|md|html?|mp4|mov|xml|ini|log|db)$/i;
  const titles = new Map(); // of the sheets so far, by file
  let order = 0;

  const isSheet = (name) => /\.(csv|tsv)$/i.test(name);
  const baseName = (path) => path.split("/").at(-1);

  function isLeftBehind(path) {
    const parts = path.split("/").filter((part) => part !== "." && part !== "..");
    return parts.some((part) => part.startsWith(".") || LEFT_BEHIND.has(part.toLowerCase()));
  }

  async function isZip(file) {
    const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
    return start[0] === 0x50 && start[1] === 0x4b && [3, 5].includes(start[2]);
  }

  // A folder that was chosen as a whole stands before each path: it is where the paths start.
  const nameOf = (file) =>
    file.webkitRelativePath ? file.webkitRelativePath.split("/").slice(1).join("/") : file.name;

  // ---- one image

  async function contentOf(file) {
    const bytes = await file.arrayBuffer();
    if (!crypto.subtle) return smallHash(new Uint8Array(bytes)); // plain http of another host
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // 106 bits for telling files apart, not for security (cyrb53 by bryc, public domain).
  function smallHash(bytes) {
    const half = (seed) => {
      let one = 0xdeadbeef ^ seed,
        two = 0x41c6ce57 ^ seed;
      for (const byte of bytes) {
        one = Math.imul(one ^ byte, 2654435761);
        two = Math.imul(two ^ byte, 1597334677);
      }
      one = Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(two ^ (two >>> 13), 3266489909);
      two = Math.imul(two ^ (two >>> 16), 2246822507) ^ Math.imul(one ^ (one >>> 13), 3266489909);
      return (4294967296 * (2097151 & two) + (one >>> 0)).toString(36);
    };
    return `${bytes.length}-${half(1)}-${half(2)}`;
  }

  // A small JPEG to show; null for what this browser cannot decode, such as HEIC: then the server makes one.
  async function thumbnail(image) {
    const bitmap = await snapshelf.intake.bitmapOf(image);
    if (!bitmap) return null;
    const factor = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
  }

  const failed = (error) => ({
    status: "error",
    error,
    top_k: [],
    path: [],
    published_path: [],
    attributes: {},
    cells: {},
  });

  // original: () → Promise of the file as it came, for the zip of sorted photos.
  async function addImage(file, name, original) {
    const content = await contentOf(file);
    const small = await snapshelf.intake.shrink(file, { page: false });
    const image = new Blob([await small.arrayBuffer()], { type: small.type }); // the file may be changed or moved later
    const row = {
      id: `${content}/${name}`,
      content,
      name,
      order: (order += 1),
      image,
      isSmaller: small !== file,
      thumbnail: await thumbnail(small),
    };
    const answer = file.size ? null : failed("empty file");
    const label = await snapshelf.classify.correctionOf(image, workbench.state.model());
    if (label) workbench.state.adopt(row, label);
    return workbench.state.addRow({ ...row, title: titleOf(name), answer, original });
  }

  function addFailed(name, reason) {
    const row = {
      id: `failed/${name}`,
      content: `failed/${name}`,
      name,
      order: (order += 1),
      image: null,
      thumbnail: null,
    };
    const answer = { ...failed(reason), cells: { status: "error", error: reason } };
    return workbench.state.addRow({ ...row, title: "", answer });
  }

  // ---- all of it

  // What is to be added: [{name, take() → Promise of the File}], and the sheets. passed: with what is no image.
  async function listed(files, complain) {
    const items = [],
      sheets = [];
    for (const file of files) {
      const name = nameOf(file);
      if (isLeftBehind(name)) continue;
      if (isSheet(name)) sheets.push(file);
      else if (await isZip(file)) {
        try {
          for (const { name: member, unpack } of await workbench.zips.members(file)) {
            if (isLeftBehind(member)) continue;
            if (isSheet(member)) sheets.push(await unpack());
            else items.push({ name: member, take: unpack });
          }
        } catch (error) {
          complain(error.message);
        }
      } else items.push({ name, take: async () => file });
    }
    return { items: items.filter(({ name }) => !NOT_IMAGES.test(name)), sheets, passed: items.length };
  }

  async function add(files) {
    const { state, upload } = workbench;
    const given = [...files]; // the list of a field or of what was pasted is emptied soon
    await state.ready();
    order = Math.max(order, ...[...state.rows.values()].map((row) => row.order));
    const complaints = [];
    workbench.view.say("");
    const { items, sheets, passed } = await listed(given, (line) => complaints.push(line));
    for (const sheet of sheets) complaints.push(await readTitles(sheet));
    const room = Math.max(0, MAX_ROWS - state.rows.size);
    if (items.length > room)
      complaints.push(`This list takes ${MAX_ROWS.toLocaleString("en")} photos; the rest was left out.`);
    if (passed > items.length) complaints.push(`${passed - items.length} files that are not images were left out.`);
    const chosen = items.slice(0, room);
    upload.expect(chosen.length);
    let twice = 0;
    for (const { name, take } of chosen) {
      let isNew = false;
      try {
        isNew = await addImage(await take(), name, take);
        if (!isNew) twice += 1;
      } catch (error) {
        addFailed(name, error.message || "damaged");
      }
      upload.prepared(isNew);
    }
    if (twice) complaints.push(`${twice} ${twice === 1 ? "photo was" : "photos were"} in the list already.`);
    if (titles.size && (sheets.length || chosen.length)) complaints.push(applyTitles());
    if (!chosen.length && !sheets.length && !complaints.length) complaints.push("There are no images in this.");
    if (complaints.some(Boolean)) workbench.view.say(complaints.filter(Boolean).join(" "));
  }

  // What was dropped, folders with all that is in them.
  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some(({ isDirectory }) => isDirectory)) return [...transfer.files];
    const found = [];
    const walk = async (entry, path) => {
      if (found.length > MAX_DROPPED || isLeftBehind(entry.name)) return;
      if (entry.isFile) {
        const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
        if (file) found.push(Object.defineProperty(file, "webkitRelativePath", { value: path + entry.name }));
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
        if (!some.length) return;
        for (const one of some) await walk(one, `${path}${entry.name}/`);
      }
    };
    const isOne = entries.length === 1; // then the paths start in it
    for (const entry of entries) await walk(entry, isOne ? "" : "/");
    return found;
  }

  // Titles by file name, with its folders or without, and with its ending or without.
  function titleOf(name) {
    const stem = (path) => path.replace(/\.\w+$/, "");
    const names = [name, baseName(name), stem(name), stem(baseName(name))];
    return names.map((one) => titles.get(one)).find(Boolean) ?? "";
  }

  // Adds the titles of a sheet. Returns a line for people where there are none.
  async function readTitles(file) {
    let sheet;
    try {
      sheet = await snapshelf.sheets.read(file);
    } catch (error) {
      return error.message;
    }
    const head = sheet[0].map((cell) => cell.replaceAll("_", " "));
    const columns = [FILE_COLUMNS, TITLE_COLUMNS].map((wanted) => head.findIndex((cell) => wanted.test(cell)));
    if (columns.includes(-1) || columns[0] === columns[1]) return `${file.name} needs the columns “file” and “title”.`;
    for (const row of sheet.slice(1)) titles.set(row[columns[0]] ?? "", row[columns[1]] ?? "");
    return "";
  }

  // What was in the list before its title came is looked at again. Returns a line for people.
  function applyTitles() {
    const reads = workbench.state.modelSettings().reads_titles;
    let found = 0;
    for (const row of workbench.state.rows.values()) {
      const title = row.review ? "" : titleOf(row.name);
      found += Boolean(title);
      if (!title || title === row.title) continue;
      row.title = title;
      workbench.state.setAnswer(row, reads ? null : row.answer);
    }
    workbench.upload.start();
    const used = reads ? "" : " This model goes by the photo alone; the titles are in the download.";
    return `${found} ${found === 1 ? "photo has its title" : "photos have their titles"}.${used}`;
  }

  workbench.files = { forgetTitles: () => titles.clear(), dropped, contentOf };
  workbench.add = add;
})();
