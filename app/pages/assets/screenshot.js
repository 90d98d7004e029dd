// Screenshot, 1 of 4: the pages with their products, what a person decided, and what this browser keeps of it.
//   snapshelf.screenshot.add(files)   looks for the products of each, one page after the other
// A page: {id, order, name, image: Blob, answers: {model: answer or {error}}, decisions: {model: {number: decision}}}
(() => {
  "use strict";
  window.snapshelf ??= {};
  const screenshot = (snapshelf.screenshot ??= {});

  const MAX_PAGES = 60,
    MAX_STEPS = 100,
    TRIES = 6,
    WAIT = 2500; // milliseconds
  const pages = new Map(),
    listeners = new Set();
  let steps = [],
    model = null,
    running = null,
    restored = null;

  const server = () => snapshelf.workbench.server;
  const display = (label) => snapshelf.names.display(label);
  const tell = (what, page) => listeners.forEach((call) => call(what, page));
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const sorted = () => [...pages.values()].sort((one, other) => one.order - other.order);

  // ---- products

  const answerOf = (page) => page.answers[model] ?? null;
  const productsOf = (page) => answerOf(page)?.products ?? [];
  const decisionOf = (page, number) => page.decisions[model]?.[number] ?? null;
  const all = () =>
    sorted().flatMap((page) => productsOf(page).map((product, at) => ({ page, product, number: at + 1 })));

  // What stands in the download: {label, by: "person", "model" or "", how}
  function final(page, number) {
    const decision = decisionOf(page, number);
    if (decision) return { label: decision.label, by: "person", how: decision.how };
    const product = productsOf(page)[number - 1];
    if (product.status === "ok") return { label: product.label, by: "model", how: "ready" };
    return { label: null, by: "", how: "to check" };
  }

  const isOpen = ({ page, product, number }) => product.status !== "ok" && !decisionOf(page, number);

  // choices: [[page, number, decision or null], …], one step
  function decide(choices, name) {
    const step = { model, name, changes: choices.map(([page, number]) => [page.id, number, decisionOf(page, number)]) };
    steps = [...steps, step].slice(-MAX_STEPS);
    for (const [page, number, decision] of choices) put(page, model, number, decision);
    for (const page of new Set(choices.map(([page]) => page))) changed(page);
  }

  function put(page, of, number, decision) {
    page.decisions[of] ??= {};
    if (decision) page.decisions[of][number] = decision;
    else delete page.decisions[of][number];
  }

  function changed(page) {
    save(page);
    tell("decisions", page);
  }

  function pick(page, number, label) {
    const how = label === productsOf(page)[number - 1].label ? "accepted" : "changed";
    decide([[page, number, { label, how }]], `product ${number} is ${display(label)}`);
  }

  function reject(page, number) {
    decide([[page, number, { label: null, how: "not usable" }]], `product ${number} is not usable`);
  }

  // The likeliest category for every product of a page that nobody has decided.
  function acceptAll(page) {
    const open = all().filter((one) => one.page === page && isOpen(one));
    decide(
      open.map(({ product, number }) => [page, number, { label: product.label, how: "accepted" }]),
      `accepted ${open.length}`,
    );
  }

  // The name of the step that is undone, or null.
  function undo() {
    const step = steps.pop();
    if (!step) return null;
    for (const [id, number, before] of step.changes) {
      const page = pages.get(id);
      if (page) put(page, step.model, number, before);
    }
    for (const id of new Set(step.changes.map(([id]) => id))) if (pages.has(id)) changed(pages.get(id));
    return step.name;
  }

  // ---- pages

  async function add(files) {
    await ready();
    let left = 0;
    for (const file of files) {
      if (pages.size >= MAX_PAGES) {
        left += 1;
        continue;
      }
      const small = await snapshelf.intake.shrink(file, { page: true });
      const id = await snapshelf.workbench.files.contentOf(small);
      if (pages.has(id)) continue; // the same page twice
      const page = { id, order: Date.now() + pages.size / 1000, name: file.name || "screenshot.png", image: small };
      pages.set(id, { ...page, answers: {}, decisions: {} });
      save(pages.get(id));
      tell("pages");
    }
    screenshot.view?.say(left ? `This list takes ${MAX_PAGES} pages; ${left} more were left out.` : "");
    return start();
  }

  function remove(page) {
    pages.delete(page.id);
    write((store) => store.delete(page.id));
    tell("pages");
  }

  function clear() {
    pages.clear();
    steps = [];
    write((store) => store.clear());
    tell("pages");
  }

  function useModel(name) {
    model = name;
    tell("pages");
    start();
  }

  // ---- asking the server

  const waiting = () => sorted().filter((page) => !answerOf(page));

  function start() {
    running ??= work().finally(() => {
      running = null;
      tell("progress");
    });
    return running;
  }

  async function work() {
    for (let page = waiting()[0]; page; page = waiting()[0]) {
      tell("progress", page);
      const asked = model;
      page.answers[asked] = await ask(page, asked);
      if (pages.has(page.id) && !page.answers[asked].passing) save(page);
      tell("answer", page);
    }
  }

  async function ask(page, asked) {
    for (let tries = 1; ; tries += 1) {
      try {
        const [path] = await server().upload([page.image], (share) => tell("progress", { ...page, share }));
        return await server().call("screenshot_find", [server().file(path), asked]);
      } catch (error) {
        const passing = Boolean(error.busy || error.gone);
        if (!passing || tries === TRIES)
          return { error: passing ? error.message : snapshelf.intake.UNREADABLE, details: error.message, passing };
        await pause(WAIT * tries);
      }
    }
  }

  function again(page) {
    delete page.answers[model];
    tell("pages");
    start();
  }

  async function example() {
    const { name, url, model: knows } = await server().call("screenshot_example", []);
    const blob = await (await fetch(url)).blob();
    if (!pages.size) useModel(knows); // the example is a shop for clothes
    return add([new File([blob], name, { type: blob.type })]);
  }

  // ---- what this browser keeps

  const STORE = "pages",
    KEPT_DAYS = 30;
  let database = null;

  function open() {
    database ??= new Promise((resolve) => {
      try {
        const request = indexedDB.open(`snapshelf-screenshot ${server().root()}`, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(STORE);
        request.onsuccess = () => resolve(request.result);
        request.onerror = request.onblocked = () => resolve(null);
      } catch {
        resolve(null); // it is switched off: the list lasts until the page is left
      }
    });
    return database;
  }

  async function write(action) {
    const opened = await open();
    try {
      if (opened) action(opened.transaction(STORE, "readwrite").objectStore(STORE));
    } catch {
      // the disk is full
    }
  }

  const save = (page) => write((store) => store.put({ ...page, saved: Date.now() }, page.id));

  async function restore() {
    model = (await place()).dataset.model;
    const opened = await open();
    if (!opened) return;
    const found = await new Promise((resolve) => {
      const request = opened.transaction(STORE).objectStore(STORE).getAll();
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve([]);
    });
    for (const page of found) {
      if (Date.now() - page.saved > KEPT_DAYS * 86_400_000) write((store) => store.delete(page.id));
      else pages.set(page.id, page);
    }
    model = lastAsked() ?? model;
    tell("pages");
    start();
  }

  // The model that answered the newest of the kept pages, so that a reload shows what was there.
  function lastAsked() {
    const newest = [...pages.values()].sort((one, other) => one.saved - other.saved).at(-1);
    const asked = Object.keys(newest?.answers ?? {}).at(-1);
    return server().settings().models.some(({ name }) => name === asked) ? asked : null;
  }

  // The tab's own element; it appears when the tab is opened for the first time.
  async function place() {
    for (;;) {
      const element = document.querySelector("#screenshot [data-model]");
      if (element) return element;
      await pause(30);
    }
  }

  const ready = () => (restored ??= restore());

  Object.assign(screenshot, {
    add,
    state: {
      ...{ pages, sorted, all, answerOf, productsOf, decisionOf, final, isOpen },
      ...{ pick, reject, acceptAll, undo, remove, clear, useModel, again, example, ready, display, waiting },
      model: () => model,
      canUndo: () => steps.length > 0,
      onChange: (call) => listeners.add(call),
    },
  });
})();
