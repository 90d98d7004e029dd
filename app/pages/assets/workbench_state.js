// Sort: the list. Rows are images with their answers; decisions are kept apart, by model and content, so that a
// photo under another name is decided already. Every step can be undone.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const CANDIDATES = 5,
    LEAST = 0.01; // what a person is offered
  const MAX_STEPS = 200,
    KEPT_DAYS = 30;
  const rows = new Map(),
    decisions = new Map(),
    byContent = new Map(),
    listeners = new Set();
  let steps = [],
    model = null,
    restored = null;

  const settings = () => workbench.server.settings();
  const modelSettings = () => settings().models.find((one) => one.name === model) ?? settings().models[0];
  const key = (row) => `${row.review ? "dataset" : model}\n${row.content}`;
  const changed = (what, ids = []) => listeners.forEach((listener) => listener(what, ids));

  // ---- what is known of a row

  // waiting, error, unknown, review, ok
  function kind(row) {
    if (!row.answer) return "waiting";
    if (row.review && row.answer.status === "ok") return "review"; // the data says something else
    return row.answer.status;
  }

  const needsPerson = (row) => ["review", "unknown"].includes(kind(row));
  const decisionOf = (row) => decisions.get(key(row)) ?? null;
  const isOpen = (row) => needsPerson(row) && !decisionOf(row);

  // What stands in the download: {label, by: "person", "model" or "", how}
  function final(row) {
    const decision = decisionOf(row);
    if (decision) return { label: decision.label, by: "person", how: decision.how };
    if (kind(row) === "ok") return { label: row.answer.label, by: "model", how: "ready" };
    return { label: null, by: "", how: kind(row) === "error" ? "not readable" : "to check" };
  }

  // The category under which a row is shown: the decided one, else the likeliest.
  const category = (row) => (decisionOf(row) ? decisionOf(row).label : (row.answer?.label ?? null));

  function candidates(row) {
    const likely = (row.answer?.top_k ?? []).filter(({ confidence }, at) => !at || confidence >= LEAST);
    const shown = likely.slice(0, CANDIDATES);
    const given = row.review?.given;
    if (given && !shown.some(({ label }) => label === given)) {
      shown.splice(CANDIDATES - 1, 1, { label: given, confidence: 0 });
    }
    return shown;
  }

  function counts() {
    const count = { all: 0, waiting: 0, error: 0, unknown: 0, review: 0, ok: 0, decided: 0, open: 0, needed: 0 };
    for (const row of rows.values()) {
      count.all += 1;
      count[kind(row)] += 1;
      count.decided += Boolean(decisionOf(row));
      count.needed += needsPerson(row);
      count.open += isOpen(row);
    }
    return count;
  }

  // How alike two answers are, from 0 to 1: the Bhattacharyya coefficient of their probabilities.
  function likeness(one, other) {
    const theirs = new Map(other.answer.top_k.map(({ label, confidence }) => [label, confidence]));
    return one.answer.top_k.reduce(
      (sum, { label, confidence }) => sum + Math.sqrt(confidence * (theirs.get(label) ?? 0)),
      0,
    );
  }

  function similar(row, number) {
    if (!row.answer?.top_k.length) return [];
    const others = [...rows.values()].filter((other) => other !== row && other.answer?.top_k.length);
    const scored = others.map((other) => [likeness(row, other), other]).sort((one, other) => other[0] - one[0]);
    return scored
      .slice(0, number)
      .filter(([alike]) => alike > 0.3)
      .map(([, other]) => other);
  }

  // ---- steps

  // entries: [[row, decision or null], …]
  function decide(entries, name) {
    const changes = new Map();
    for (const [row, decision] of entries) {
      const before = decisionOf(row);
      if (before?.label !== decision?.label || before?.how !== decision?.how)
        changes.set(key(row), { before, after: decision });
    }
    if (changes.size) remember({ name, changes: [...changes] });
    for (const [at, { after }] of changes) put(at, after);
    announce([...changes.keys()]);
    return changes.size;
  }

  // What a person decided in Classify is no step of this list.
  function adopt(row, label) {
    if (!rows.has(row.id) && !decisionOf(row)) put(key(row), { label, how: "changed" });
  }

  function remember(step) {
    steps = [...steps, step].slice(-MAX_STEPS);
    workbench.store.write(
      "memory",
      "steps",
      steps.filter(({ changes }) => changes),
    );
  }

  function put(at, decision) {
    if (decision) decisions.set(at, decision);
    else decisions.delete(at);
    workbench.store.write("decisions", at, decision ?? undefined);
  }

  function announce(keys) {
    const contents = new Set(keys.map((at) => at.slice(at.indexOf("\n") + 1)));
    const ids = [...contents].flatMap((content) => [...(byContent.get(content) ?? [])]);
    changed("decisions", ids);
    workbench.review.send(ids.map((id) => rows.get(id)).filter((row) => row?.review));
  }

  const accepted = (row) => ({ label: row.answer.label, how: "accepted" });
  const picked = (row, label) => ({ label, how: label === row.answer?.label ? "accepted" : "changed" });
  const accept = (list, name) =>
    decide(
      list.filter((row) => row.answer?.label).map((row) => [row, accepted(row)]),
      name,
    );
  const pick = (list, label, name) =>
    decide(
      list.map((row) => [row, picked(row, label)]),
      name,
    );
  const reject = (list, name) =>
    decide(
      list.map((row) => [row, { label: null, how: "not usable" }]),
      name,
    );
  const reopen = (list, name) =>
    decide(
      list.map((row) => [row, null]),
      name,
    );

  function remove(list, name) {
    remember({ name, removed: list });
    for (const row of list) forget(row);
    changed("rows");
  }

  // The step that was undone, or null.
  function undo() {
    const step = steps.at(-1);
    if (!step) return null;
    steps = steps.slice(0, -1);
    workbench.store.write(
      "memory",
      "steps",
      steps.filter(({ changes }) => changes),
    );
    if (step.removed) {
      step.removed.forEach(addRow);
      changed("rows");
    } else {
      for (const [at, { before }] of step.changes) put(at, before);
      announce(step.changes.map(([at]) => at));
    }
    return step;
  }

  // ---- rows

  // Whether it is new: the same file twice is one row.
  function addRow(row) {
    if (rows.has(row.id)) return false;
    rows.set(row.id, row);
    if (!byContent.has(row.content)) byContent.set(row.content, new Set());
    byContent.get(row.content).add(row.id);
    save(row);
    changed("rows", [row.id]);
    return true;
  }

  function save(row) {
    if (row.review) return; // the server has it
    const { original, sending, ...kept } = row;
    workbench.store.write("rows", row.id, kept);
  }

  function forget(row) {
    rows.delete(row.id);
    byContent.get(row.content)?.delete(row.id);
    workbench.store.write("rows", row.id, undefined);
  }

  function setAnswer(row, answer) {
    row.answer = answer;
    if (!rows.has(row.id)) return; // removed meanwhile
    save(row);
    changed("answers", [row.id]);
  }

  function useModel(name) {
    if (name === model || !settings().models.some((one) => one.name === name)) return;
    model = name;
    workbench.store.write("memory", "model", name);
    for (const row of rows.values()) if (!row.review) setAnswer(row, null);
    changed("rows");
  }

  async function restore() {
    const memory = await workbench.store.read("memory");
    model = settings().models.some(({ name }) => name === memory.get("model")) ? memory.get("model") : settings().model;
    if (Date.now() - (memory.get("opened") ?? 0) > KEPT_DAYS * 86_400_000) await workbench.store.clear();
    workbench.store.write("memory", "opened", Date.now());
    for (const [at, decision] of await workbench.store.read("decisions")) decisions.set(at, decision);
    const found = [...(await workbench.store.read("rows")).values()].sort((one, other) => one.order - other.order);
    for (const row of found) addRow(row);
    steps = (await workbench.store.read("memory")).get("steps") ?? [];
    changed("rows");
  }

  async function clear() {
    rows.clear();
    byContent.clear();
    decisions.clear();
    steps = [];
    await workbench.store.clear();
    workbench.store.write("memory", "opened", Date.now());
    workbench.store.write("memory", "model", model);
    changed("rows");
  }

  workbench.state = {
    ...{ rows, kind, decisionOf, isOpen, final, category, candidates, counts, similar },
    ...{ accept, pick, reject, reopen, adopt, remove, undo, addRow, setAnswer, useModel, clear, modelSettings },
    ready: () => (restored ??= restore()),
    onChange: (listener) => listeners.add(listener),
    model: () => model,
    canUndo: () => steps.at(-1)?.name ?? null,
  };
})();
