// Sort: how the page reaches its own server: Gradio's routes for uploads and for its queue, as Gradio's client
// uses them.
//   settings()   upload(files, onShare) → paths   call(name, data) → answer
//   pathTo(label, model)   the labels from the broadest one down to this one
// Both throw an Error whose `busy` or `gone` says that another try may help, and whose message is for people.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const session = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(36)).join("");
  const GONE = "The connection was lost.";
  const SILENT_SECONDS = 180;
  let known = null,
    last = Promise.resolve();

  // The address of the page, also behind a proxy that puts a prefix before it.
  function root() {
    const given = window.gradio_config?.root ?? "";
    const path = given.startsWith("http") ? new URL(given).pathname : given;
    return path.replace(/\/$/, "");
  }

  const address = (route) => `${root()}${window.gradio_config?.api_prefix ?? "/gradio_api"}/${route}`;

  function settings() {
    known ??= JSON.parse(document.querySelector("#workbench [data-settings]")?.dataset.settings ?? settingsOfConfig());
    return known;
  }

  // Before the tab was opened for the first time its content is in the configuration only.
  function settingsOfConfig() {
    const component = window.gradio_config.components.find(({ props }) => props?.elem_id === "workbench");
    const parsed = new DOMParser().parseFromString(component.props.value, "text/html");
    return parsed.querySelector("[data-settings]").dataset.settings;
  }

  function pathTo(label, model) {
    const labels = settings().models.find(({ name }) => name === model)?.labels ?? [];
    return labels.find(([one]) => one === label)?.[1] ?? [label];
  }

  function problem(message, more = {}) {
    return Object.assign(new Error(message), more);
  }

  function refusal(status, text) {
    let detail = "";
    try {
      const body = JSON.parse(text);
      detail = typeof body.detail === "string" ? body.detail : (body.message ?? "");
    } catch {
      // a proxy's own page
    }
    const busy = [429, 502, 503, 504].includes(status);
    return problem(detail || "The server did not take these photos.", { busy });
  }

  // onShare: is told how much has been sent, from 0 to 1.
  function upload(files, onShare) {
    const form = new FormData();
    files.forEach((file, at) => form.append("files", file, `${at}`)); // names stay here
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.upload.onprogress = ({ loaded, total }) => onShare(total ? loaded / total : 0);
      request.onload = () => {
        if (request.status === 200) resolve(JSON.parse(request.responseText));
        else reject(refusal(request.status, request.responseText));
      };
      request.onerror = request.onabort = () => reject(problem(GONE, { gone: true }));
      request.open("POST", address("upload"));
      request.send(form);
    });
  }

  // One call after the other: a stream of the queue tells of all events of its session.
  function call(name, data) {
    const answer = last.then(() => join(name, data));
    last = answer.catch(() => null);
    return answer;
  }

  async function join(name, data) {
    const { id } = window.gradio_config.dependencies.find((one) => one.api_name === name);
    const body = JSON.stringify({ data, fn_index: id, session_hash: session, event_data: null, trigger_id: null });
    const headers = { "Content-Type": "application/json" };
    let answer;
    try {
      answer = await fetch(address("queue/join"), { method: "POST", headers, body });
    } catch {
      throw problem(GONE, { gone: true });
    }
    if (!answer.ok) throw refusal(answer.status, await answer.text());
    return told((await answer.json()).event_id);
  }

  // What the queue tells of an event, until it is over. The stream is left to its end: one that is closed early may still
  // take the next event's messages.
  function told(event) {
    return new Promise((resolve, reject) => {
      const stream = new EventSource(`${address("queue/data")}?session_hash=${session}`);
      let settle = () => reject(problem(GONE, { gone: true }));
      const end = () => {
        clearTimeout(timer);
        stream.close();
        settle();
      };
      let timer = setTimeout(end, SILENT_SECONDS * 1000);
      stream.onerror = end;
      stream.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.msg === "close_stream" || message.msg === "unexpected_error") return end();
        if (message.event_id !== event) return; // the heartbeat
        clearTimeout(timer);
        timer = setTimeout(end, SILENT_SECONDS * 1000);
        if (message.msg !== "process_completed") return;
        settle = () => (message.success ? resolve(message.output.data[0]) : reject(failure(message.output)));
      };
    });
  }

  function failure(output) {
    const text = new DOMParser().parseFromString(output?.error ?? "", "text/html").body.textContent;
    return problem(text || "Something went wrong on our side.", { busy: output?.title === "Please wait" });
  }

  const file = (path) => ({ path, meta: { _type: "gradio.FileData" } });
  workbench.server = { settings, pathTo, root, file, upload, call };
})();
