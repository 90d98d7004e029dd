// Sort: the list as CSV, as a workbook, as a zip with a folder per category, and as corrections for data_prep.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const CORRECTIONS = ["id", "action", "column", "label", "reason"]; // as data_prep/pipeline/corrections.py reads them
  const FINAL = ["final_category", "final_path", "decided_by", "decision"]; // the last columns
  const FOLDERS = { "to check": "_to check", "not usable": "_not usable", "not readable": "_could not be read" };
  const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;
  const MAX_NAME = 100;

  const display = (label) => snapshelf.names.display(label);
  const all = () => [...workbench.state.rows.values()].sort((one, other) => one.order - other.order);

  // Rows of cells, the first one with the columns. `label` stays the data's own word; paths and what is final are in the
  // words of the page, the visitor's where there are any.
  function table() {
    const rows = all();
    const columns = [...new Set(rows.flatMap(({ answer }) => Object.keys(answer?.cells ?? {})))];
    const withTitles = rows.some(({ title }) => title) ? ["title"] : [];
    const head = ["file", ...withTitles, ...columns, ...FINAL];
    return [
      head,
      ...rows.map((row) => {
        const { label, by, how } = workbench.state.final(row);
        const cells = columns.map((column) => cell(row, column));
        const path = label ? snapshelf.names.path(workbench.server.pathTo(label, workbench.state.model())) : "";
        return [row.name, ...withTitles.map(() => row.title), ...cells, label ? display(label) : "", path, by, how];
      }),
    ];
  }

  function cell({ answer }, column) {
    const labels = answer && { category_path: answer.path, published_path: answer.published_path }[column];
    return labels ? snapshelf.names.path(labels) : (answer?.cells[column] ?? "");
  }

  const csv = () => snapshelf.sheets.save(snapshelf.sheets.csv(table()), "snapshelf.csv");

  // One line per decision of a person. An id is the file's path, as data_prep.image_folder names it.
  function corrections() {
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = all()
      .filter(({ answer }) => answer)
      .map((row) => [row, workbench.state.final(row)]);
    const rows = lines
      .filter(([, { by }]) => by === "person")
      .map(([row, { label, how }]) => {
        const reason =
          how === "accepted" ? "accepted by a person" : label ? "picked by a person" : "not usable, says a person";
        return [
          row.review?.id ?? row.name,
          label ? "relabel" : "quarantine",
          row.review?.column ?? "",
          label ?? "",
          reason,
        ];
      });
    const text = [CORRECTIONS, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    snapshelf.sheets.save(new Blob([text], { type: "text/csv;charset=utf-8" }), "corrections.csv");
  }

  // ---- the workbook

  const escaped = (text) =>
    String(text)
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff\ufffe\uffff]/gu, "")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;");

  function sheetXml(rows) {
    const cell = (value, isHead) => {
      if (typeof value === "number") return `<c><v>${value}</v></c>`;
      const style = isHead ? ' s="1"' : "";
      return `<c t="inlineStr"${style}><is><t xml:space="preserve">${escaped(value)}</t></is></c>`; // never a formula
    };
    const widths = rows[0].map((_, at) => Math.min(50, 2 + Math.max(...rows.map((row) => String(row[at]).length))));
    const columns = widths.map(
      (width, at) => `<col min="${at + 1}" max="${at + 1}" width="${width}" customWidth="1"/>`,
    );
    const body = rows.map((row, at) => `<row>${row.map((value) => cell(value, !at)).join("")}</row>`);
    return (
      `<worksheet xmlns="${MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" ` +
      `activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><cols>${columns.join("")}</cols>` +
      `<sheetData>${body.join("")}</sheetData></worksheet>`
    );
  }

  const FORMATS = "http://schemas.openxmlformats.org";
  const MAIN = `${FORMATS}/spreadsheetml/2006/main`,
    OFFICE = `${FORMATS}/officeDocument/2006/relationships`;
  const RELATIONS = `${FORMATS}/package/2006/relationships`,
    TYPES = `${FORMATS}/package/2006/content-types`;
  const XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';

  function workbook(rows) {
    const kind = "application/vnd.openxmlformats-officedocument.spreadsheetml";
    const parts = {
      "[Content_Types].xml":
        `<Types xmlns="${TYPES}"><Default Extension="rels" ` +
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>' +
        `<Override PartName="/xl/workbook.xml" ContentType="${kind}.sheet.main+xml"/>` +
        `<Override PartName="/xl/worksheets/sheet1.xml" ContentType="${kind}.worksheet+xml"/>` +
        `<Override PartName="/xl/styles.xml" ContentType="${kind}.styles+xml"/></Types>`,
      "_rels/.rels":
        `<Relationships xmlns="${RELATIONS}"><Relationship Id="r1" Type="${OFFICE}/officeDocument" ` +
        'Target="xl/workbook.xml"/></Relationships>',
      "xl/workbook.xml":
        `<workbook xmlns="${MAIN}" xmlns:r="${OFFICE}"><sheets><sheet name="Photos" sheetId="1" ` +
        'r:id="r1"/></sheets></workbook>',
      "xl/_rels/workbook.xml.rels":
        `<Relationships xmlns="${RELATIONS}"><Relationship Id="r1" ` +
        `Type="${OFFICE}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="${OFFICE}/styles" ` +
        'Target="styles.xml"/></Relationships>',
      "xl/styles.xml":
        `<styleSheet xmlns="${MAIN}"><fonts count="2"><font/><font><b/></font></fonts><fills count="2">` +
        '<fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>' +
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>' +
        '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf/><xf fontId="1" applyFont="1"/></cellXfs>' +
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
      "xl/worksheets/sheet1.xml": sheetXml(rows),
    };
    const bytes = Object.entries(parts).map(([name, text]) => [name, new TextEncoder().encode(XML + text)]);
    return fflate.zipSync(Object.fromEntries(bytes));
  }

  function xlsx() {
    const type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    snapshelf.sheets.save(new Blob([workbook(table())], { type }), "snapshelf.xlsx");
  }

  // ---- the zip

  // A name that every file system takes.
  function safeName(name, spare = "file") {
    let safe = name.normalize("NFC").replace(/[<>:"/\\|?*\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e]/g, "_");
    safe = safe.replace(/^[. ]+|[. ]+$/g, "") || spare;
    const [, stem, ending] = safe.match(/^(.*?)(\.[^.]{1,10})?$/s);
    const short = Array.from(stem).slice(0, MAX_NAME).join("").trim() || spare;
    return (RESERVED.test(short) ? `_${short}` : short) + (ending ?? "");
  }

  // "a.jpg", "a (2).jpg": upper and lower case are one, as on Windows.
  function unused(path, taken) {
    const [, stem, ending] = path.match(/^(.*?)(\.[^./]{1,10})?$/s);
    let free = path;
    for (let number = 2; taken.has(free.toLowerCase()); number += 1) free = `${stem} (${number})${ending ?? ""}`;
    taken.add(free.toLowerCase());
    return free;
  }

  function folderOf(row) {
    const { label, how } = workbench.state.final(row);
    return label ? safeName(display(label), "category") : (FOLDERS[how] ?? "_to check");
  }

  // The photo as it came; after a reload only the smaller copy is there.
  async function photo(row) {
    const original = await row.original?.().catch(() => null);
    const name =
      original || !row.image?.type.endsWith("jpeg") ? row.name : row.name.replace(/\.(?!jpe?g$)\w+$/i, ".jpg");
    return { name: safeName(name.split("/").at(-1)), content: original ?? row.image };
  }

  async function zip() {
    const pieces = [],
      taken = new Set();
    const archive = new fflate.Zip((error, piece) => {
      if (error) throw error;
      pieces.push(new Blob([piece])); // the browser may keep it on the disk
    });
    for (const row of all()) {
      const { name, content } = await photo(row);
      if (!content) continue;
      const member = new fflate.ZipPassThrough(unused(`${folderOf(row)}/${name}`, taken));
      archive.add(member);
      member.push(new Uint8Array(await content.arrayBuffer()), true);
    }
    archive.end();
    snapshelf.sheets.save(new Blob(pieces, { type: "application/zip" }), "snapshelf.zip");
  }

  workbench.download = { csv, xlsx, zip, corrections, table, safeName };
})();
