// Chainpool's one script: keeps pages live, times true, and keys short. Every page works without it.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// The path below which the dashboard stands; empty at the root.
const base = (document.documentElement.dataset.base ?? "/").replace(/\/$/, "");

// --- Times, in the words of format.rs ------------------------------------------------------------------------------
const length = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 36000 && s % 3600 >= 60) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
};
const relative = (seconds) => (seconds < -60 ? `in ${length(59 - seconds)}` : seconds < -1 ? `in ${length(-seconds)}` : seconds < 1 ? "now" : `${length(seconds)} ago`);

// The server's clock counts: the difference is learnt from each answer.
let skew = 0;
const learn = (response) => {
  const said = Date.parse(response.headers.get("date") ?? "");
  if (!Number.isNaN(said) && Math.abs(said + 500 - Date.now()) > 2000) skew = said + 500 - Date.now();
};
const tick = () => {
  const now = Date.now() + skew;
  for (const span of $$("[data-ago], [data-lasting]")) {
    const seconds = Math.floor((now - Date.parse(span.parentElement.dateTime)) / 1000);
    const text = "ago" in span.dataset ? relative(seconds) : length(seconds);
    if (span.textContent !== text) span.textContent = text;
  }
};

// --- Showing what changed, in place --------------------------------------------------------------------------------
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

// Rows of a table stay where they are: known ones change in place, those that went are dimmed, new ones wait behind a button.
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
  const went = rows.size - [...rows.keys()].filter((key) => kept.has(key)).length;
  if (waiting + went === 0) return button?.remove();
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
  button.textContent = [waiting && `${waiting} new`, went && `${went} gone`].filter(Boolean).join(", ");
}

// --- Being told, and asking again ----------------------------------------------------------------------------------
const main = $("main");
const nouns = new Set((main?.dataset.live ?? "").split(" ").filter(Boolean));
let asking = false;
let again = false;
let waitingFor = 0;
let took = 0;
let asked = Date.now();

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const begun = performance.now();
  asked = Date.now();
  try {
    const response = await fetch(location.href, { headers: { "x-fragment": "1" } });
    learn(response);
    if (response.redirected && new URL(response.url).pathname === `${base}/sign-in`) return location.reload();
    if (response.ok) show(new DOMParser().parseFromString(await response.text(), "text/html"));
    else if (response.status === 404) location.reload();
  } catch {
    stale();
  } finally {
    asking = false;
    took = performance.now() - begun;
    if (again) {
      again = false;
      soon();
    }
  }
}

function show(page) {
  document.title = page.title;
  const icon = $("#tab-icon", page);
  if (icon && $("#tab-icon").href !== icon.href) $("#tab-icon").href = icon.href;
  const verdict = $("#verdict");
  const said = $("#verdict", page)?.textContent ?? "";
  if (verdict && verdict.textContent !== said) verdict.textContent = said;
  const fresh = $("main", page);
  if (fresh) morphChildren(main, fresh);
  tick();
}

// At most one question in 300 ms, and fewer where the answer takes long.
function soon() {
  if (waitingFor) return;
  waitingFor = setTimeout(() => {
    waitingFor = 0;
    refresh();
  }, Math.max(300, took * 2));
}

const mark = $("#live");
let stream = null;
let heard = Date.now();
let retry = 0;
let away = 0;

function stale() {
  if (!mark) return;
  const seconds = Math.floor((Date.now() - heard) / 1000);
  const late = seconds > 12 || (stream?.readyState ?? EventSource.CLOSED) !== EventSource.OPEN;
  const text = late && seconds > 1 ? `stale since ${length(seconds)}` : "connected";
  mark.hidden = false;
  mark.classList.toggle("stale", text !== "connected");
  mark.title = text === "connected" ? "this page shows changes as they happen" : "this page shows what was known then";
  if (mark.textContent !== text) mark.textContent = text;
}

function connect() {
  if (!mark || document.hidden) return;
  stream?.close();
  stream = new EventSource(`${base}/events/stream`);
  const alive = () => {
    heard = Date.now();
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

// A hidden tab gives its stream back after a minute (browsers allow six a site) and then asks now and then, for its title.
document.addEventListener("visibilitychange", () => {
  clearInterval(away);
  if (document.hidden) {
    away = setInterval(() => {
      stream?.close();
      if (nouns.size) refresh();
    }, 60000);
  } else if (stream?.readyState !== EventSource.OPEN) {
    connect();
    if (nouns.size) refresh();
  }
});

// --- Keys, copying, dialogs ----------------------------------------------------------------------------------------
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
    question(ask.href);
  }
});

// The page that shows the plan, as a dialog over this one. Whatever is odd about it is shown as a page.
async function question(address) {
  try {
    const response = await fetch(address, { headers: { "x-fragment": "1" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const plan = $(".confirm", page);
    if (!response.ok || response.redirected || !plan) return location.assign(address);
    const heading = $("h1", plan);
    const title = document.createElement("h2");
    title.textContent = heading.textContent;
    heading.replaceWith(title);
    $("#ask").replaceChildren(document.importNode(plan, true));
    guard($("#ask"));
    $("#ask").showModal();
    $("#ask [data-typed], #ask .button")?.focus();
  } catch {
    location.assign(address);
  }
}

// The button stays shut until the name is typed as it is.
function guard(root) {
  for (const field of $$("[data-typed]", root)) {
    const button = $("button.button", field.form);
    const blocked = button.disabled;
    const check = () => (button.disabled = blocked || field.value.trim() !== field.dataset.typed);
    field.addEventListener("input", check);
    check();
  }
}

// --- One page's own ------------------------------------------------------------------------------------------------
function begin() {
  tick();
  setInterval(() => {
    tick();
    stale();
    // Evidence grows old on the page although nothing changes: ask now and then.
    if (nouns.size && !document.hidden && Date.now() - asked > 10000) soon();
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
  if (mark) connect();
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

begin();
