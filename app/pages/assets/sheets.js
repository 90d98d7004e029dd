// Sheets in the browser: read two columns and more from CSV, TSV, semicolons or xlsx, and write CSV that a spreadsheet
// opens without running anything.
(() => {
  "use strict";
  window.snapshelf ??= {};

  const FORMULA = /^[=+\-@\t\r]/;
  const MAX_BYTES = 2 ** 21;
  const XLSX = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

  // The rows of a text as arrays of cells, blank ones too, so that a row's place is its line.
  function parse(text, separator = separatorOf(text)) {
    const rows = [[""]];
    let quoted = false;
    for (let at = 0; at < text.length; at += 1) {
      const sign = text[at],
        row = rows.at(-1);
      if (quoted && sign === '"' && text[at + 1] === '"') row[row.length - 1] += text[(at += 1)];
      else if (sign === '"' && (quoted || row.at(-1) === "")) quoted = !quoted;
      else if (quoted) row[row.length - 1] += sign;
      else if (sign === separator) row.push("");
      else if (sign === "\n") rows.push([""]);
      else if (sign !== "\r") row[row.length - 1] += sign;
    }
    return rows.map((row) => row.map((cell) => cell.trim()));
  }

  // Whichever of tab, semicolon and comma most lines have.
  function separatorOf(text) {
    const lines = text.split("\n", 200);
    const count = (sign) => lines.filter((line) => line.includes(sign)).length;
    return ["\t", ";", ","].reduce((best, sign) => (count(sign) > count(best) ? sign : best));
  }

  function decode(bytes) {
    if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return new TextDecoder("windows-1252").decode(bytes); // what Excel writes on Windows
    }
  }

  // The rows of a file. Throws an Error with a line for people.
  async function read(file) {
    if (file.size > MAX_BYTES) throw new Error("This sheet is larger than 2 MB, the maximum.");
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (bytes[0] === 0x50 && bytes[1] === 0x4b) return readXlsx(bytes);
    if (bytes.subarray(0, 4096).includes(0) && bytes[0] !== 0xff) {
      throw new Error("We couldn't read this sheet. Save it as CSV or xlsx.");
    }
    return parse(decode(bytes));
  }

  // The first sheet of a workbook.
  function readXlsx(bytes) {
    try {
      const total = { bytes: 0 };
      const filter = ({ name, originalSize }) =>
        /^xl\/(sharedStrings|worksheets\/sheet\d+)\.xml$/.test(name) && (total.bytes += originalSize) <= 20 * MAX_BYTES;
      const files = fflate.unzipSync(bytes, { filter });
      const sheet = Object.keys(files)
        .filter((name) => name.includes("worksheets/"))
        .sort((one, other) => one.localeCompare(other, undefined, { numeric: true }))[0];
      const shared = files["xl/sharedStrings.xml"];
      return xlsxRows(xml(files[sheet]), shared ? [...tags(xml(shared), "si")].map(textOf) : []);
    } catch {
      throw new Error("We couldn't read this workbook. Save the sheet as CSV.");
    }
  }

  const tags = (node, name) => node.getElementsByTagNameNS(XLSX, name);
  const textOf = (node) =>
    [...tags(node, "t")]
      .map((part) => part.textContent)
      .join("")
      .trim();

  function xml(bytes) {
    const parsed = new DOMParser().parseFromString(new TextDecoder().decode(bytes), "application/xml");
    if (parsed.querySelector("parsererror")) throw new Error("damaged");
    return parsed;
  }

  function xlsxRows(sheet, shared) {
    const rows = [];
    for (const row of tags(sheet, "row")) {
      const cells = [];
      for (const cell of tags(row, "c")) {
        const column = columnOf(cell.getAttribute("r")) ?? cells.length;
        const value = tags(cell, "v")[0]?.textContent ?? "";
        if (column < 64) cells[column] = cell.getAttribute("t") === "s" ? shared[Number(value)] : value || textOf(cell);
      }
      rows[Math.min(Number(row.getAttribute("r") || rows.length + 1), 10 ** 5) - 1] = cells;
    }
    return Array.from(rows, (row) => Array.from(row ?? [""], (cell) => cell ?? ""));
  }

  // The column of a cell such as "B7", from 0.
  function columnOf(place) {
    const letters = place?.match(/^[A-Z]+/)?.[0];
    return letters && [...letters].reduce((number, letter) => number * 26 + letter.charCodeAt(0) - 64, 0) - 1;
  }

  function csv(rows) {
    const cell = (value) => {
      const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value ?? "");
      return /[",\n\r;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return "\ufeff" + rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  function save(content, name, type = "text/csv;charset=utf-8") {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  snapshelf.sheets = { parse, read, csv, save };
})();
