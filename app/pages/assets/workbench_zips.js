// Sort: zips are unpacked in the browser. The names in them are read as app/zip_names.py reads them.
//   await members(file) → [{name, size, unpack() → File}]; throws an Error with a line for people
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const MAX_UNPACKED = 2 ** 31,
    MAX_ZIP = 2 ** 30,
    MAX_MEMBER = 64 * 2 ** 20; // bytes
  const MAX_ENTRIES = 10_000; // as app/batches.py; with folders and what is passed over
  const HELD = 20_000; // milliseconds
  const END = 0x06054b50, IN_ZIP64 = 0xffffffff; // the end record; where its fields were too small
  const UTF8_FLAG = 0x800, UNICODE_PATH = 0x7075;
  let held = {};

  async function members(file) {
    if (file.size > MAX_ZIP) throw new Error(`${file.name} is larger than 1 GB. Please split it into several zips.`);
    const data = await bytesOf(file);
    let entries;
    try {
      entries = listed(data);
    } catch {
      throw new Error(`${file.name} is damaged. Please create the zip again.`);
    }
    await guessNames(entries.filter(({ name }) => name === null));
    for (const entry of entries) entry.name = entry.name.split("\0")[0].replaceAll("\\", "/");
    const files = entries.filter(({ name }) => !name.endsWith("/"));
    const total = files.reduce((sum, { size }) => sum + size, 0);
    if (total > MAX_UNPACKED || total > 100 * file.size + 2 ** 30) {
      throw new Error(`${file.name} unpacks to more than this page takes. Please split it into several zips.`);
    }
    return files.map((entry) => ({ ...entry, unpack: () => unpacked(file, entry) }));
  }

  // [{raw, name, size}], with folders. Throws for a damaged zip.
  //   raw    the name as fflate reads it: a letter per byte, where it has no flag for UTF-8
  //   name   null where the zip does not say it
  function listed(data) {
    const entries = [];
    fflate.unzipSync(data, {
      filter({ name, originalSize }) {
        if (entries.length < MAX_ENTRIES) entries.push({ raw: name, name: null, size: originalSize });
        return false;
      },
    });
    readNames(entries, data);
    return entries;
  }

  // Of the zip that is being unpacked; a little later its memory is free again.
  async function bytesOf(zip) {
    const data = held.zip === zip ? held.data : new Uint8Array(await zip.arrayBuffer());
    clearTimeout(held.timer);
    held = { zip, data, timer: setTimeout(() => (held = {}), HELD) };
    return data;
  }

  async function unpacked(zip, { raw, name, size }) {
    if (size > MAX_MEMBER) throw new Error("larger than 64 MB");
    const content = fflate.unzipSync(await bytesOf(zip), { filter: (entry) => entry.name === raw })[raw];
    if (content.length !== size) throw new Error("damaged in its zip");
    return new File([content], name, { type: typeOf(name) });
  }

  function typeOf(name) {
    const ending = name.split(".").at(-1).toLowerCase();
    const types = {
      jpg: "jpeg",
      jpeg: "jpeg",
      png: "png",
      webp: "webp",
      gif: "gif",
      bmp: "bmp",
      avif: "avif",
      heic: "heic",
    };
    return types[ending] ? `image/${types[ending]}` : "";
  }

  // ---- names

  // By flag, by the Unicode path in an extra field, as valid UTF-8 (macOS).
  function readNames(entries, data) {
    const view = viewOf(data);
    let at = listStart(view);
    for (const entry of entries) {
      const [flags, name, extra, comment] = [8, 28, 30, 32].map((field) => view.getUint16(at + field, true));
      const nameEnd = at + 46 + name, extraEnd = nameEnd + extra;
      const bytes = data.subarray(at + 46, nameEnd), fields = data.subarray(nameEnd, extraEnd);
      entry.name = flags & UTF8_FLAG ? entry.raw : (unicodePath(fields, bytes) ?? utf8(bytes));
      at = extraEnd + comment;
    }
  }

  // Where fflate finds the list of files.
  function listStart(view) {
    let end = view.byteLength - 22;
    while (view.getUint32(end, true) !== END) end -= 1;
    const start = view.getUint32(end + 16, true);
    return start === IN_ZIP64 ? view.getUint32(view.getUint32(end - 12, true) + 48, true) : start;
  }

  // Together, as the server guesses. Where it is out of reach, raw names still tell the files apart.
  async function guessNames(entries) {
    if (!entries.length) return;
    const raw = entries.map((entry) => entry.raw);
    const names = await workbench.server.call("workbench_names", [raw]).then((answer) => answer.names, () => raw);
    entries.forEach((entry, at) => (entry.name = names[at]));
  }

  // The name in the extra fields that belongs to the name `bytes`; null for none.
  function unicodePath(fields, bytes) {
    const view = viewOf(fields);
    for (let at = 0, size; at + 9 < fields.length; at += 4 + size) {
      size = view.getUint16(at + 2, true);
      const isPath = view.getUint16(at, true) === UNICODE_PATH && fields[at + 4] === 1 && size > 5;
      const belongs = isPath && view.getUint32(at + 5, true) === checksum(bytes);
      if (belongs) return utf8(fields.subarray(at + 9, at + 4 + size));
    }
    return null;
  }

  function utf8(bytes) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return null;
    }
  }

  const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

  // CRC-32, as zips have it.
  function checksum(bytes) {
    let sum = -1;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return ~sum >>> 0;
  }

  workbench.zips = { members };
})();
