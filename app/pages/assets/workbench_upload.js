// Sort: photos without an answer go to the server a few at a time, the next ones while those are classified.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const FIRST = 4; // photos of the first chunk, so that something is there soon
  const TRIES = 8,
    WAIT = 3000; // milliseconds between them, a little more each time
  const SHARES = { prepare: 0.15, send: 0.45 }; // of the progress; the rest is the answer
  let running = null,
    stopped = "";
  const idle = () => ({ total: 0, preparing: 0, sent: 0, answered: 0 }); // photos
  let run = idle();

  const waiting = () => [...workbench.state.rows.values()].filter((row) => !row.answer && !row.review && !row.sending);
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  // From 0 to 1, or null where nothing is under way.
  function share() {
    if (!run.total) return null;
    const { prepare, send } = SHARES,
      of = (number) => Math.min(1, number / run.total);
    return prepare * of(run.total - run.preparing) + send * of(run.sent) + (1 - prepare - send) * of(run.answered);
  }

  function expect(number) {
    run.total += number;
    run.preparing += number;
    tell();
  }

  // isWaiting: false for a photo that is in the list already, or cannot be used.
  function prepared(isWaiting) {
    run.preparing -= 1;
    if (!isWaiting) run.total -= 1;
    tell();
    start();
  }

  const tell = () => workbench.view.progress(share(), stopped);

  function take(first) {
    const { chunk_files: most, chunk_bytes: bytes } = workbench.server.settings();
    const chunk = [];
    let total = 0;
    for (const row of waiting().slice(0, first ? FIRST : most)) {
      total += row.image.size;
      if (chunk.length && total > bytes) break;
      chunk.push(row);
    }
    for (const row of chunk) row.sending = true;
    return chunk;
  }

  function start() {
    stopped = "";
    running ??= pump().finally(() => {
      running = null;
      if (waiting().length && !stopped) start();
    });
  }

  async function pump() {
    run.total = Math.max(run.total, waiting().length + run.preparing);
    let answering = Promise.resolve();
    for (let isFirst = true; !stopped; isFirst = false) {
      const chunk = take(isFirst);
      if (!chunk.length) break;
      const paths = await patiently(chunk, () => send(chunk));
      await answering;
      if (paths) answering = classify(chunk, paths);
      while (!waiting().length && run.preparing && !stopped) {
        await pause(50); // the next ones are being prepared
      }
    }
    await answering;
    if (!stopped && !run.preparing && !waiting().length) run = idle();
    tell();
  }

  async function send(chunk) {
    const before = run.sent;
    const files = chunk.map(({ image }) => image);
    const paths = await workbench.server.upload(files, (part) => {
      run.sent = before + part * chunk.length;
      tell();
    });
    run.sent = before + chunk.length;
    return paths;
  }

  async function classify(chunk, paths) {
    const { model, modelSettings } = workbench.state;
    const asked = model();
    const given = chunk.map(({ title }) => title);
    const titles = modelSettings().reads_titles && given.some(Boolean) ? given : null;
    const details = { titles, thumbnails: chunk.map(({ thumbnail }) => !thumbnail) };
    const answer = await patiently(chunk, async (isAgain) => {
      if (isAgain)
        paths = await workbench.server.upload(
          chunk.map(({ image }) => image),
          () => null,
        ); // it forgets them
      return workbench.server.call("workbench_sort", [paths.map(workbench.server.file), asked, details]);
    });
    for (const [at, row] of chunk.entries()) {
      row.sending = false;
      const one = answer?.rows[at];
      if (
        !one ||
        asked !== model() ||
        given[at] !== row.title ||
        (one.late && (row.late = (row.late ?? 0) + 1) < TRIES)
      )
        continue; // once more
      run.answered += 1;
      if (one.thumbnail) row.thumbnail = await (await fetch(one.thumbnail)).blob();
      const { thumbnail, sha256, file, late, ...kept } = one;
      workbench.state.setAnswer(row, kept);
    }
    tell();
  }

  // What `action` gives; another try where the server is busy or out of reach. Null where it does not work.
  async function patiently(chunk, action) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await action(tries > 1);
      } catch (error) {
        if ((error.busy || error.gone) && tries < TRIES) {
          await pause(WAIT * Math.min(tries, 4));
          continue;
        }
        stopped = error.message;
        for (const row of chunk) row.sending = false;
        tell();
        return null;
      }
    }
  }

  workbench.upload = { start, expect, prepared, share, isRunning: () => Boolean(running) };
})();
