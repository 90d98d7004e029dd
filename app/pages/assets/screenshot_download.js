// Screenshot, 2 of 4: the products of all pages as CSV, and cut out as a zip with a folder per category.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const screenshot = (snapshelf.screenshot ??= {});

  const COLUMNS = [
    "page",
    "product",
    "x",
    "y",
    "width",
    "height",
    "out_of_stock",
    "label",
    "confidence",
    "category_path",
    "status",
    "published_path",
    "final_category",
    "final_path",
    "decided_by",
    "decision",
  ];
  const FOLDERS = { "to check": "_to check", "not usable": "_not usable" };
  const QUALITY = 0.92;

  // Where a label stands in the tree of the model, by the visitor's names.
  const pathTo = (label) => snapshelf.workbench.server.pathTo(label, screenshot.state.model());

  function table() {
    const { path } = snapshelf.names;
    const rows = screenshot.state.all().map(({ page, product, number }) => {
      const { label, by, how } = screenshot.state.final(page, number);
      return [
        page.name,
        number,
        ...product.box,
        product.out_of_stock ? "yes" : "no",
        product.label,
        product.confidence,
        path(product.category_path),
        product.status,
        path(product.published_path),
        label ? screenshot.state.display(label) : "",
        label ? path(pathTo(label)) : "",
        by,
        how,
      ];
    });
    return [COLUMNS, ...rows];
  }

  const csv = () => snapshelf.sheets.save(snapshelf.sheets.csv(table()), "products.csv");

  // A product as a JPEG, in the pixels of the screenshot.
  async function crop(bitmap, answer, product) {
    const [x, y, width, height] = product.box.map((side) => (side * bitmap.width) / answer.width);
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
    canvas.getContext("2d").drawImage(bitmap, x, y, width, height, 0, 0, canvas.width, canvas.height);
    return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  }

  async function zip() {
    const files = {},
      { safeName } = snapshelf.workbench.download;
    for (const page of screenshot.state.sorted()) {
      const answer = screenshot.state.answerOf(page);
      if (!answer?.products?.length) continue;
      const bitmap = await snapshelf.intake.bitmapOf(page.image);
      if (!bitmap) continue; // HEIC, which few browsers can read
      for (const [at, product] of answer.products.entries()) {
        const { label, how } = screenshot.state.final(page, at + 1);
        const folder = label ? safeName(screenshot.state.display(label), "category") : FOLDERS[how];
        const stem = `${safeName(page.name.replace(/\.\w+$/, ""))}_${page.id.slice(0, 6)}_${at + 1}`;
        const blob = await crop(bitmap, answer, product);
        files[`${folder}/${stem}.jpg`] = [new Uint8Array(await blob.arrayBuffer()), { level: 0 }];
      }
      bitmap.close();
    }
    snapshelf.sheets.save(new Blob([fflate.zipSync(files)], { type: "application/zip" }), "products.zip");
  }

  screenshot.download = { csv, zip };
})();
