// The dashboard script: live updates, relative times, keyboard shortcuts. Every page works without it.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// Base path of the dashboard; empty at the root.
const base = (document.documentElement.dataset.base ?? "/").replace(/\/$/, "");

// --- Times, in the format of format.rs ---------------------------------------------------------------------
const duration = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 36000 && s % 3600 >= 60) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
};
const relative = (seconds) => (seconds < -60 ? `in ${duration(59 - seconds)}` : seconds < -1 ? `in ${duration(-seconds)}` : seconds < 1 ? "now" : `${duration(seconds)} ago`);

// Times are relative to the server's clock; each response updates the skew.
let skew = 0;
const updateSkew = (response) => {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (!Number.isNaN(date) && Math.abs(date + 500 - Date.now()) > 2000) skew = date + 500 - Date.now();
};
const tick = () => {
  const now = Date.now() + skew;
  for (const span of $$("[data-ago], [data-lasting]")) {
    const seconds = Math.floor((now - Date.parse(span.parentElement.dateTime)) / 1000);
    const text = "ago" in span.dataset ? relative(seconds) : duration(seconds);
    if (span.textContent !== text) span.textContent = text;
  }
};

// --- Updating the page in place ----------------------------------------------------------------------------
const keyOf = (node) => node.dataset?.key ?? node.id ?? "";

function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  if (old.localName === "time" && old.dateTime === fresh.dateTime) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !["open", "class"].includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    const typed = ["value", "checked", "selected", "open"].includes(name) || (name === "class" && fresh.className === old.dataset.was);
    if (!typed && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (!["INPUT", "TEXTAREA", "SELECT"].includes(old.tagName)) morphChildren(old, fresh);
}

const alike = (one, other) =>
  one && one.nodeType === other.nodeType && (one.nodeType !== Node.ELEMENT_NODE || (one.localName === other.localName && keyOf(one) === keyOf(other)));

function morphChildren(old, fresh) {
  if ("hold" in old.dataset) return hold(old, fresh);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    while (at?.dataset && "own" in at.dataset) at = at.nextSibling;
    if (alike(at, child)) {
      morph(at, child);
      at = at.nextSibling;
      continue;
    }
    const key = keyOf(child);
    const known = key && [...old.children].find((each) => each.localName === child.localName && keyOf(each) === key);
    const node = known || document.importNode(child, true);
    if (known) morph(known, child);
    else if (child.matches?.("[data-key]")) node.classList.add("fresh");
    old.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    if (!(at.dataset && "own" in at.dataset)) at.remove();
    at = next;
  }
}

// Table rows keep their position: existing rows are updated, removed rows are dimmed, new rows wait behind a button.
function hold(old, fresh) {
  const rows = new Map([...old.children].map((row) => [row.dataset.key, row]));
  const kept = new Set();
  let waiting = 0;
  for (const row of [...fresh.children]) {
    const known = rows.get(row.dataset.key);
    kept.add(row.dataset.key);
    if (known) {
      known.classList.remove("gone");
      morph(known, row);
    } else if (rows.size === 0) old.append(document.importNode(row, true));
    else waiting += 1;
  }
  for (const [key, row] of rows) row.classList.toggle("gone", !kept.has(key));
  const table = old.closest(".scroll");
  let button = table.previousElementSibling?.matches(".waiting") ? table.previousElementSibling : null;
  const removed = rows.size - [...rows.keys()].filter((key) => kept.has(key)).length;
  if (waiting + removed === 0) return button?.remove();
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "button small waiting";
    button.dataset.own = "";
    button.addEventListener("click", () => {
      old.replaceChildren();
      button.remove();
      refresh();
    });
    table.before(button);
  }
  button.textContent = [waiting && `${waiting} new`, removed && `${removed} removed`].filter(Boolean).join(", ");
}

// --- Events and refresh ------------------------------------------------------------------------------------
const main = $("main");
const nouns = new Set((main?.dataset.live ?? "").split(" ").filter(Boolean));
let refreshing = false;
let refreshAgain = false;
let refreshTimer = 0;
let took = 0;
let lastRefresh = Date.now();

async function refresh() {
  if (refreshing) {
    refreshAgain = true;
    return;
  }
  refreshing = true;
  const start = performance.now();
  lastRefresh = Date.now();
  try {
    const response = await fetch(location.href, { headers: { "x-fragment": "1" } });
    updateSkew(response);
    if (response.redirected && new URL(response.url).pathname === `${base}/sign-in`) return location.reload();
    if (response.ok) show(new DOMParser().parseFromString(await response.text(), "text/html"));
    else if (response.status === 404) location.reload();
  } catch {
    stale();
  } finally {
    refreshing = false;
    took = performance.now() - start;
    if (refreshAgain) {
      refreshAgain = false;
      soon();
    }
  }
}

function show(page) {
  document.title = page.title;
  const icon = $("#tab-icon", page);
  if (icon && $("#tab-icon").href !== icon.href) $("#tab-icon").href = icon.href;
  const verdict = $("#verdict");
  const text = $("#verdict", page)?.textContent ?? "";
  if (verdict && verdict.textContent !== text) verdict.textContent = text;
  const fresh = $("main", page);
  if (fresh) morphChildren(main, fresh);
  tick();
}

// At most one request every 300 ms, fewer if responses are slow.
function soon() {
  if (refreshTimer) return;
  refreshTimer = setTimeout(() => {
    refreshTimer = 0;
    refresh();
  }, Math.max(300, took * 2));
}

const indicator = $("#live");
let stream = null;
let lastEvent = Date.now();
let retry = 0;
let hiddenTimer = 0;

function stale() {
  if (!indicator) return;
  const seconds = Math.floor((Date.now() - lastEvent) / 1000);
  const late = seconds > 12 || (stream?.readyState ?? EventSource.CLOSED) !== EventSource.OPEN;
  const text = late && seconds > 1 ? `stale for ${duration(seconds)}` : "connected";
  indicator.hidden = false;
  indicator.classList.toggle("stale", text !== "connected");
  indicator.title = text === "connected" ? "live updates" : "no live updates; the page may be outdated";
  if (indicator.textContent !== text) indicator.textContent = text;
}

function connect() {
  if (!indicator || document.hidden) return;
  stream?.close();
  stream = new EventSource(`${base}/events/stream`);
  const alive = () => {
    lastEvent = Date.now();
    retry = 0;
    stale();
  };
  let missed = false;
  stream.addEventListener("open", () => {
    if (missed && nouns.size) soon();
    missed = false;
    alive();
  });
  stream.addEventListener("beat", alive);
  stream.addEventListener("lost", () => nouns.size && soon());
  stream.addEventListener("changed", (event) => {
    alive();
    if (nouns.has(event.data.split(" ")[0])) soon();
  });
  stream.addEventListener("error", () => {
    missed = true;
    stale();
    if (stream.readyState !== EventSource.CLOSED) return;
    clearTimeout(retry);
    retry = setTimeout(() => {
      if (nouns.size) soon();
      connect();
    }, 3000);
  });
}

// A hidden tab closes its stream after a minute (browsers allow six per site) and then polls once a minute for its title.
document.addEventListener("visibilitychange", () => {
  clearInterval(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setInterval(() => {
      stream?.close();
      if (nouns.size) refresh();
    }, 60000);
  } else if (stream?.readyState !== EventSource.OPEN) {
    connect();
    if (nouns.size) refresh();
  }
});

// --- Keys, copying, dialogs --------------------------------------------------------------------------------
const places = { s: "/status", h: "/hosts", c: "/clusters", l: "/leases", o: "/operations", t: "/network-types", a: "/admin" };
let going = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
  if (event.key === "/" && $("#search")) {
    event.preventDefault();
    $("#search").focus();
  } else if (event.key === "?") $("#help")?.showModal();
  else if (event.key === "g") going = Date.now();
  else if (Date.now() - going < 1500 && $(`.rail a[href="${base}${places[event.key]}"]`)) location.assign(base + places[event.key]);
});

async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    from.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  from.dataset.was = from.className;
  from.classList.add("done");
  setTimeout(() => from.classList.remove("done"), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(("absolute" in button.dataset ? location.origin + base : "") + button.dataset.copy, button);
  for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (event.target.closest("#ask [data-close]")) {
    event.preventDefault();
    $("#ask").close();
  }
  const ask = event.target.closest("a[data-ask]");
  if (ask && $("#ask") && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    confirmInDialog(ask.href);
  }
});

// Shows a confirmation page as a dialog. Any other response is opened as a page.
async function confirmInDialog(address) {
  try {
    const response = await fetch(address, { headers: { "x-fragment": "1" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const confirmation = $(".confirm", page);
    if (!response.ok || response.redirected || !confirmation) return location.assign(address);
    const heading = $("h1", confirmation);
    const title = document.createElement("h2");
    title.textContent = heading.textContent;
    heading.replaceWith(title);
    $("#ask").replaceChildren(document.importNode(confirmation, true));
    guard($("#ask"));
    $("#ask").showModal();
    $("#ask [data-typed], #ask .button")?.focus();
  } catch {
    location.assign(address);
  }
}

// The button is disabled until the name is typed exactly.
function guard(root) {
  for (const field of $$("[data-typed]", root)) {
    const button = $("button.button", field.form);
    const blocked = button.disabled;
    const check = () => (button.disabled = blocked || field.value.trim() !== field.dataset.typed);
    field.addEventListener("input", check);
    check();
  }
}

// --- Page setup --------------------------------------------------------------------------------------------
function init() {
  tick();
  setInterval(() => {
    tick();
    stale();
    // Evidence ages even without changes: refresh every 10 s.
    if (nouns.size && !document.hidden && Date.now() - lastRefresh > 10000) soon();
  }, 1000);
  guard(document);
  $("[data-focus]")?.focus();
  for (const code of $$("code[data-absolute]")) code.textContent = location.origin + base + code.textContent;
  const link = $("[data-from-hash]");
  if (link && location.hash.length > 1) {
    link.value = decodeURIComponent(location.hash.slice(1));
    link.closest(".field").hidden = true;
    history.replaceState(null, "", location.pathname);
    $("#password").focus();
  }
  const follow = $("#follow");
  if (follow) followLog(follow);
  if (indicator) connect();
}

function followLog(box) {
  const log = $("#log");
  let lines = null;
  box.parentElement.hidden = false;
  log.scrollTop = log.scrollHeight;
  const add = (event) => {
    const bottom = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    const line = document.createElement("span");
    if (event.type !== "stdout") line.className = "err";
    line.textContent = `${event.data}\n`;
    log.append(line);
    while (log.children.length > 5000) log.firstElementChild.remove();
    if (bottom) log.scrollTop = log.scrollHeight;
  };
  box.addEventListener("change", () => {
    lines?.close();
    if (!box.checked) return;
    lines = new EventSource(box.dataset.stream);
    for (const kind of ["stdout", "stderr", "end"]) lines.addEventListener(kind, add);
    lines.addEventListener("end", () => {
      lines.close();
      box.checked = false;
    });
  });
}

init();
