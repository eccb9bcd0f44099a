// What the pages do beyond links and forms. Every part from the server is a fragment of HTML in which
// all data is escaped; it is parsed without running anything, and inserted.

const pageToken = document.querySelector('meta[name="page-token"]')?.content ?? "";
const lost = document.getElementById("lost");

async function fetchPart(address, options = {}) {
  const response = await fetch(address, {
    ...options,
    headers: { "x-fragment": "1", "x-page-token": pageToken, ...options.headers },
  });
  return { ok: response.ok, status: response.status, text: await response.text() };
}

function put(element, html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  element.replaceChildren(...document.importNode(parsed.body, true).childNodes);
  prepare(element);
}

// Parts that are loaded after the page, and times in the person's own zone.

function prepare(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    time.title = time.dateTime;
  }
  for (const element of root.querySelectorAll("[data-load]")) loads.push(element);
  letKeysScroll(root);
  loadNext();
}

function letKeysScroll(root) {
  for (const box of root.querySelectorAll("pre.text, .first-rows, .scroll")) {
    const scrolls = box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth;
    if (scrolls) box.tabIndex = 0;
  }
}

document.addEventListener("toggle", (event) => letKeysScroll(event.target), true); // was closed

const loads = [];
let loading = 0;

async function loadNext() {
  while (loading < 3 && loads.length) {
    const element = loads.shift();
    loading += 1;
    fetchPart(element.dataset.load)
      .then((part) => {
        if (part.ok || !("quiet" in element.dataset)) put(element, part.text);
      })
      .catch(() => {})
      .finally(() => {
        loading -= 1;
        loadNext();
      });
  }
}

// Live parts: the server says what changed, and that part is fetched again.

async function refresh(element) {
  if (element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) {
    return; // somebody is writing there
  }
  try {
    const part = await fetchPart(element.dataset.live);
    if (part.ok || part.status < 500) put(element, part.text);
  } catch {
    // the events will say when the server is back
  }
}

function listen() {
  const live = () => document.querySelectorAll("[data-live]");
  if (!live().length) return;
  const events = new EventSource("/events");
  events.addEventListener("begin", () => live().forEach(refresh));
  events.addEventListener("change", (event) => {
    const topics = JSON.parse(event.data);
    for (const element of live()) {
      if (element.dataset.topics.split(" ").some((topic) => topics.includes(topic))) refresh(element);
    }
  });
  events.addEventListener("open", () => {
    lost.hidden = true;
  });
  events.addEventListener("error", () => {
    lost.hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(askAgain, 3000);
  });
  async function askAgain() {
    try {
      const response = await fetch("/parts/jobs", { headers: { "x-fragment": "1" } });
      if (response.ok) return listen();
      put(lost, await response.text()); // the cookie has expired
    } catch {
      setTimeout(askAgain, 3000);
    }
  }
}

// A row in the drawer.

const drawer = document.getElementById("drawer");

async function openDrawer(link) {
  const content = document.getElementById("drawer-content");
  try {
    put(content, (await fetchPart(link.href)).text);
  } catch {
    lost.hidden = false;
    return;
  }
  drawer.showModal();
  drawer.scrollTop = 0;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-drawer]");
  if (link && drawer && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    openDrawer(link);
  }
  if (event.target === drawer) drawer.close();
});

// Forms: they are sent only once, and what cannot be undone is confirmed first.

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  if (form.method === "post") {
    setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  }
});

window.addEventListener("pageshow", () => {
  document.querySelectorAll("button:disabled").forEach((button) => (button.disabled = false));
});

// Keys: data-key clicks the element that has it, except while typing in a field.

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, select");
  if (field?.dataset.submit !== undefined && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    field.form.requestSubmit();
  }
  if (field || event.ctrlKey || event.metaKey || event.altKey || drawer?.open) return;
  const target = [...document.querySelectorAll("[data-key]")].find((control) => control.dataset.key === event.key);
  if (!target) return;
  event.preventDefault();
  if (target.matches("input")) target.focus();
  else target.click();
});

// New job: a dropped file.

const drop = document.getElementById("drop");

async function take(file) {
  const note = document.getElementById("drop-note");
  note.textContent = `Uploading ${file.name} …`;
  try {
    const options = [...document.querySelectorAll("[name^=read_]")].map((e) => [e.name, e.value]);
    const response = await fetch(`/new/file?${new URLSearchParams(options)}`, {
      method: "POST",
      body: file,
      headers: {
        "x-page-token": pageToken,
        "x-fragment": "1",
        "x-file-name": encodeURIComponent(file.name),
        "content-type": "application/octet-stream",
      },
    });
    if (response.ok) location.assign((await response.json()).location);
    else put(note, await response.text());
  } catch {
    note.textContent = "The console does not answer. Start it again, then drop the file once more.";
  }
}

if (drop) {
  const over = (yes) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", yes);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  document.getElementById("file").addEventListener("change", (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
  });
}

// New job: the prompt rendered for real rows while it is written.

const draft = document.getElementById("draft");

if (draft) {
  let timer = 0;
  let sent = 0;
  const preview = async () => {
    const number = (sent += 1);
    try {
      const part = await fetchPart(draft.dataset.preview, {
        method: "POST",
        body: new URLSearchParams(new FormData(draft)),
      });
      if (number === sent) put(document.getElementById("rendered"), part.text);
    } catch {
      lost.hidden = false;
    }
  };
  draft.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(preview, 250);
  });
  window.addEventListener("pageshow", () => {
    // written before this module ran, or put back by the browser
    if ([...draft.elements].some(isChanged)) preview();
  });
  draft.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-insert]");
    if (chip) {
      const prompt = draft.elements.prompt;
      prompt.setRangeText(chip.dataset.insert, prompt.selectionStart, prompt.selectionEnd, "end");
      prompt.focus();
      prompt.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (event.target.closest("[data-add]")) addColumn();
  });
}

function isChanged(field) {
  if (!field.options) return field.defaultValue !== undefined && field.value !== field.defaultValue;
  const served = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
  return field.value !== served?.value;
}

function addColumn() {
  const form = document.querySelector("[data-schema]");
  const name = form.querySelector("[data-name]").value.trim();
  if (!name) return;
  const kind = form.querySelector("[data-kind]").value;
  const values = form.querySelector("[data-values]").value.split(",").map((value) => value.trim()).filter(Boolean);
  const text = draft.elements.response_schema;
  let schema = { type: "object", properties: {}, required: [], additionalProperties: false };
  try {
    schema = { ...schema, ...JSON.parse(text.value || "{}") };
  } catch {
    text.focus();
    return;
  }
  schema.properties[name] = kind === "enum" ? { type: "string", enum: values } : { type: kind };
  schema.required = [...new Set([...schema.required, name])];
  text.value = JSON.stringify(schema, null, 2);
  text.dispatchEvent(new Event("input", { bubbles: true }));
  for (const field of form.querySelectorAll("input")) field.value = "";
  form.querySelector("[data-name]").focus();
}

const reload = document.querySelector("[data-reload]");
if (reload) setTimeout(() => location.reload(), Number(reload.dataset.reload));

prepare(document);
listen();
