// What a category is called: by the visitor's own sheet, else as people say, else as in the data. `snapshelf.names`:
//   display(label)   the name to show        path(labels)   the same for a path, joined with " > "; equal neighbors once
//   all(model)       [{label, name}], sorted, one per name; of every model where none is named
//   onChange(call)   after the visitor's names have changed
// Elements written by the server as <span data-label="Tshirts">T-shirts</span> are renamed here.
(() => {
  "use strict";
  window.snapshelf ??= {};

  const KEY = "snapshelf.names";
  const MAX_NAME = 100,
    MAX_LINES = 5000;
  const HEADS = /^(ours?|our (name|category)|snapshelf|category|label|name)$/i;
  const ORDER = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const listeners = new Set();
  let own = stored();
  let known;

  const root = () => document.getElementById("names");
  const lower = (text) => text.normalize("NFC").toLowerCase().replace(/\s+/g, " ").trim();
  const make = (tag, text, values = {}) => Object.assign(document.createElement(tag), { textContent: text, ...values });

  function stored() {
    try {
      const pairs = Object.entries(JSON.parse(localStorage.getItem(KEY)) ?? {});
      return new Map(pairs.filter((pair) => pair.every((text) => typeof text === "string")));
    } catch {
      return new Map(); // storage is off, or holds something else
    }
  }

  // What the server knows: {names: {label: display name}, models: {model: {labels, above}}}
  function data() {
    const element = root();
    if (!known && element) {
      known = { names: JSON.parse(element.dataset.names), models: JSON.parse(element.dataset.models) };
    }
    return known ?? { names: {}, models: {} };
  }

  const builtIn = (label) => (Object.hasOwn(data().names, label) ? data().names[label] : label);
  const display = (label) => own.get(label) ?? builtIn(label);

  // Several of ours may go into one of theirs, a category and those below it, too.
  const path = (labels) => {
    const names = labels.map(display);
    return names.filter((name, at) => name !== names[at - 1]).join(" > ");
  };

  function labelsOf(model) {
    const models = data().models;
    const chosen = model === undefined ? Object.values(models) : [models[model]].filter(Boolean);
    return [...new Set(chosen.flatMap((one) => one.labels))];
  }

  function all(model) {
    const byName = new Map();
    for (const label of labelsOf(model)) if (!byName.has(display(label))) byName.set(display(label), label);
    const rows = [...byName].map(([name, label]) => ({ label, name }));
    return rows.sort((one, other) => ORDER.compare(one.name, other.name));
  }

  const onChange = (call) => listeners.add(call);

  // Whatever a sheet may call one of our categories: {lower-case name: label}; a label before a display name.
  function ours() {
    const above = Object.values(data().models).flatMap((model) => model.above);
    const labels = [...new Set([...labelsOf(), ...above])];
    const names = new Map();
    for (const name of [(label) => label, builtIn]) {
      for (const label of labels) if (!names.has(lower(name(label)))) names.set(lower(name(label)), label);
    }
    return names;
  }

  // Rows of a sheet: {names: Map of our label → their name, wrong: ["Line 3: …"]}.
  function understand(rows) {
    const found = ours(),
      names = new Map(),
      lines = new Map(),
      wrong = [];
    rows.slice(0, MAX_LINES).forEach(([theirs = "", name = ""], index) => {
      const line = index + 1;
      if (!theirs || (!name && rows[index].length < 2 && !index)) return;
      const label = found.get(lower(name));
      if (!label && !index && (!name || HEADS.test(name))) return;
      if (!name) wrong.push(`Line ${line}: nothing stands beside “${theirs}”.`);
      else if (!label) wrong.push(`Line ${line}: “${name}” is not a category here.${nearest(name, found)}`);
      else if (theirs.length > MAX_NAME) wrong.push(`Line ${line}: a name may have ${MAX_NAME} characters at most.`);
      else if (names.has(label) && names.get(label) !== theirs) {
        wrong.push(`Line ${line}: “${name}” already is “${names.get(label)}” in line ${lines.get(label)}.`);
      } else if (!names.has(label)) {
        names.set(label, theirs);
        lines.set(label, line);
      }
    });
    if (rows.length > MAX_LINES) wrong.push(`Lines after ${MAX_LINES.toLocaleString("en")} were left out.`);
    return { names, wrong };
  }

  function nearest(name, found) {
    const wanted = lower(name);
    let best = null,
      least = Infinity;
    for (const [candidate, label] of found) {
      const within = candidate.includes(wanted) || wanted.includes(candidate);
      const steps = distance(wanted, candidate) - (within && Math.min(candidate.length, wanted.length) > 2 ? 3 : 0);
      if (steps < least) [best, least] = [label, steps];
    }
    return best && least <= Math.max(2, wanted.length / 2) ? ` Did you mean “${builtIn(best)}”?` : "";
  }

  // Levenshtein's
  function distance(one, other) {
    let before = Array.from({ length: other.length + 1 }, (_, index) => index);
    for (let row = 1; row <= one.length; row += 1) {
      const now = [row];
      for (let column = 1; column <= other.length; column += 1) {
        const same = one[row - 1] === other[column - 1] ? 0 : 1;
        now.push(Math.min(before[column] + 1, now[column - 1] + 1, before[column - 1] + same));
      }
      before = now;
    }
    return before.at(-1);
  }

  // Use these names, none where the map is empty. False where the browser does not keep them.
  function use(names) {
    own = names;
    let kept = true;
    try {
      if (own.size) localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(own)));
      else localStorage.removeItem(KEY);
    } catch {
      kept = false;
    }
    changed();
    return kept;
  }

  function changed() {
    rename(document);
    show();
    for (const call of listeners) call();
  }

  function rename(within) {
    for (const span of within.querySelectorAll("span[data-label]")) {
      const name = own.get(span.dataset.label);
      if (name === undefined && span.dataset.builtIn === undefined) continue;
      span.dataset.builtIn ??= span.textContent;
      const text = name ?? span.dataset.builtIn;
      if (span.textContent !== text) span.textContent = text;
    }
  }

  // The dialog
  function show() {
    const place = root();
    if (!place) return;
    const used = place.querySelector(".names-used");
    place.querySelector(".names-remove").hidden = used.hidden = !own.size;
    for (const button of document.querySelectorAll(".names-open")) button.classList.toggle("in-use", own.size > 0);
    const rows = [...own]
      .sort((one, other) => ORDER.compare(one[1], other[1]))
      .map(([label, name]) => {
        const row = document.createElement("tr");
        row.append(make("td", name), make("td", builtIn(label)));
        return row;
      });
    const table = document.createElement("table"),
      head = document.createElement("thead");
    const body = document.createElement("tbody"),
      heads = document.createElement("tr");
    heads.append(make("th", "Your name", { scope: "col" }), make("th", "Ours", { scope: "col" }));
    head.append(heads);
    body.append(...rows);
    table.append(head, body);
    used.replaceChildren(table);
  }

  function say(text, wrong = []) {
    const place = root();
    place.querySelector(".names-said").textContent = text;
    const lines = wrong.slice(0, 50).map((line) => make("li", line));
    if (wrong.length > 50) lines.push(make("li", `And ${wrong.length - 50} more.`));
    place.querySelector(".names-wrong").replaceChildren(...lines);
  }

  function take(rows) {
    const { names, wrong } = understand(rows);
    if (!names.size) {
      say("No names were found. A line needs your name and then ours, such as: Tees; T-shirts", wrong);
      return;
    }
    const kept = use(names);
    const count = `${names.size} ${names.size === 1 ? "category has" : "categories have"} your name now.`;
    const left = wrong.length === 1 ? " 1 line was left out:" : ` ${wrong.length} lines were left out:`;
    say(count + (kept ? "" : " This browser does not keep them when you leave.") + (wrong.length ? left : ""), wrong);
  }

  // A sheet with all our categories on the right, and the visitor's names on the left as far as there are any.
  function list() {
    const above = Object.values(data().models).flatMap((model) => model.above);
    const labels = [...new Set([...labelsOf(), ...above])];
    const rows = labels.map((label) => [
      own.get(label) ?? "",
      ours().get(lower(builtIn(label))) === label ? builtIn(label) : label,
    ]);
    snapshelf.sheets.save(snapshelf.sheets.csv([["your name", "ours"], ...rows]), "categories.csv");
  }

  const ACTIONS = {
    open: () => (show(), say(""), root().querySelector("dialog").showModal()),
    close: () => root().querySelector("dialog").close(),
    remove: () => (use(new Map()), say("Your names are removed; ours are back.")),
    paste: () => take(snapshelf.sheets.parse(root().querySelector("textarea").value)),
    list,
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-names-do]");
    if (button) ACTIONS[button.dataset.namesDo]();
    else if (event.target.matches?.("dialog.names-dialog")) ACTIONS.close(); // beside the dialog
  });

  document.addEventListener("change", async (event) => {
    const input = event.target;
    if (!input.matches?.(".names-file") || !input.files.length) return;
    try {
      take(await snapshelf.sheets.read(input.files[0]));
    } catch (error) {
      say(error.message);
    }
    input.value = ""; // so that the same file can be chosen again
  });

  window.addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    own = stored();
    changed();
  });

  let ready = false;
  new MutationObserver((records) => {
    if (!ready && root()) {
      ready = true;
      changed(); // the built-in names are there now
    } else if (own.size) {
      for (const record of records)
        for (const node of record.addedNodes) if (node.nodeType === 1) rename(node.parentNode ?? node);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  snapshelf.names = { display, path, all, onChange };
})();
