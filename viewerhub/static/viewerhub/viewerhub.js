// What the portal does in the browser besides htmx. Every page works without it, too.

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);
const numbers = new Intl.NumberFormat(root.lang || undefined);
const count = (text, number) => text.replace("%n", numbers.format(number));
const plural = (one, many, number) => (number === 1 ? one : count(many, number));

root.classList.add("scripted");

// Notices

let noticeTimer;
function notice(text) {
  const area = one("#notice");
  area.textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => area.replaceChildren(), 4000);
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // Without HTTPS there is no clipboard to write to, but there is a selection to copy.
    const area = document.createElement("textarea");
    area.value = button.dataset.copy;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  notice(button.dataset.copied);
}

// Theme: the cookie makes the server send the next page in it, without a flash

const NEXT_THEME = { auto: "light", light: "dark", dark: "auto" };

function switchTheme(form) {
  const button = one("button", form);
  const theme = button.value;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  button.value = NEXT_THEME[theme];
  button.title = form.dataset[theme];
  one(".hidden", button).textContent = form.dataset[theme];
  notice(form.dataset[theme]);
}

// Menus: one open at a time, closed by Escape, a click elsewhere, or leaving with Tab

function closeMenus(except) {
  for (const menu of all("details[data-menu][open]")) {
    if (menu !== except && !menu.contains(except)) menu.open = false;
  }
}

// Search form

function updateModalities(choices) {
  const chosen = all("input:checked", choices).map((input) => input.value);
  const tags = (chosen.length ? chosen : [choices.dataset.any]).map((text) => {
    const tag = document.createElement("span");
    tag.className = chosen.length ? "tag" : "muted";
    tag.textContent = text;
    return tag;
  });
  one("[data-modalities]").replaceChildren(...tags);
}

function choosePeriod(input) {
  const dates = all("[data-range] input");
  if (input.name === "preset") {
    for (const date of dates) date.value = "";
  } else if (dates.some((date) => date.value)) {
    for (const preset of all("[data-presets] input")) preset.checked = false;
  } else {
    one('[data-presets] input[value="any"]').checked = true;
  }
}

// Results: rows come in archive by archive, each to its place, but none that the user
// looks at moves. What belongs above it waits until it is asked for.

const PAGE = 50;
const results = one("[data-results]");
const table = results && one("[data-studies]", results);
let shown = PAGE;
let held = [];
let pointed = null;

const studies = () => (table ? all("[data-study]", table) : []);
const isBusy = (row) => row === pointed || row.contains(document.activeElement);

function place(row) {
  const after = studies().find((other) => other.dataset.key < row.dataset.key);
  table.insertBefore(row, after ?? null);
}

function replaceRow(known, row) {
  if (Number(row.dataset.archives) < Number(known.dataset.archives)) return;
  if (isBusy(known) || one("[data-launch], [data-series-loaded]", known)) {
    one(".when", known).replaceWith(one(".when", row));
    known.dataset.archives = row.dataset.archives;
    return;
  }
  one("[data-pick]", row).checked = one("[data-pick]", known).checked;
  known.replaceWith(row);
}

function receive(rows) {
  const busy = studies().find(isBusy);
  for (const row of rows) {
    const known = one(`#${row.id}`, table);
    const waiting = held.findIndex((other) => other.id === row.id);
    if (known) replaceRow(known, row);
    else if (waiting >= 0) held[waiting] = row;
    else if (busy && row.dataset.key > busy.dataset.key) held.push(row);
    else place(row);
  }
}

function showHeld() {
  const anchor = studies().find(isBusy) ?? studies()[0];
  const before = anchor?.getBoundingClientRect().top;
  held.forEach(place);
  held = [];
  refresh();
  if (anchor) scrollBy(0, anchor.getBoundingClientRect().top - before);
  one("#results-title").focus({ preventScroll: true });
}

function names(chips) {
  return chips.map((chip) => chip.dataset.name).join(", ");
}

function refresh() {
  const texts = results.dataset;
  const chips = all("[data-chip]", results);
  const asking = chips.filter((chip) => chip.dataset.state === "asking");
  const answered = chips.filter((chip) => chip.dataset.state === "answered");
  const silent = chips.filter((chip) => !asking.includes(chip) && !answered.includes(chip));
  const rows = studies();
  const total = rows.length + held.length;
  const nothing = () => (asking.length ? texts.asking : answered.length ? texts.none : texts.silence);
  setText(one("[data-count]", results), total ? plural(texts.one, texts.many, total) : nothing());
  table.hidden = !rows.length;
  one("[data-order]", results).hidden = !total;
  one("[data-has-more]", results).hidden = !chips.some((chip) => "hasMore" in chip.dataset);
  const isOver = !asking.length && !total;
  one("[data-empty]", results).hidden = !(isOver && answered.length);
  one("[data-all-down]", results).hidden = !(isOver && !answered.length);
  for (const [selector, some] of [["[data-answered]", answered], ["[data-silent]", silent]]) {
    const line = one(selector, results);
    line.hidden = !some.length;
    line.textContent = line.dataset.text.replace("%s", () => names(some));
  }
  refreshHeld(texts);
  refreshPages(rows, texts);
  refreshSelection();
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function refreshHeld(texts) {
  const button = one("[data-held]", results);
  button.hidden = !held.length;
  button.textContent = plural(texts.heldOne, texts.heldMany, held.length);
}

function refreshPages(rows, texts) {
  rows.forEach((row, index) => {
    row.hidden = index >= shown && !isBusy(row) && !one("[data-pick]", row).checked;
  });
  const rest = rows.filter((row) => row.hidden).length;
  const button = one("[data-show-more]", results);
  button.hidden = !rest;
  button.textContent = count(texts.more, Math.min(rest, PAGE));
}

function refreshSelection() {
  const chosen = studies().filter((row) => one("[data-pick]", row).checked);
  const patients = new Set(chosen.map((row) => row.dataset.patient)).size;
  one("[data-selection]", results).classList.toggle("has-selected", chosen.length > 0);
  setText(one("[data-selected-count]", results), count(results.dataset.selected, chosen.length));
  const warning = one("[data-patients-warning]", results);
  warning.hidden = patients < 2;
  setText(one("span", warning), count(results.dataset.patients, patients));
}

function takeIncoming(chip) {
  const incoming = one("[data-incoming]", chip);
  if (incoming) {
    receive(all("[data-study]", incoming));
    incoming.remove();
  }
  refresh();
}

// Series of a study

function toggleSeries(button) {
  const details = document.getElementById(button.getAttribute("aria-controls"));
  details.hidden = !details.hidden;
  button.setAttribute("aria-expanded", String(!details.hidden));
  if (!details.hidden && !one("[data-series-loaded]", details)) htmx.trigger(button, "expand");
}

// The place of a picture that can't be had stays empty

const isBroken = (image) => image.complete && !image.naturalWidth;
const hidePicture = (image) => { image.hidden = true; };

// Launches: the page stays, the browser hands the address to Weasis

function openViewer(launch) {
  const address = launch.dataset.weasis;
  if (!address?.startsWith("weasis:") || "opened" in launch.dataset) return;
  launch.dataset.opened = "";
  location.href = address;
}

// Launches that are likely: begun for who points at their button for a moment

let likely;
function foresee(event) {
  clearTimeout(likely);
  const form = event.target.closest?.("[data-ahead] button.open")?.form;
  if (form) likely = setTimeout(() => {
    fetch(form.dataset.ahead, { method: "POST", body: new FormData(form) });
    delete form.dataset.ahead;
  }, 300);
}

// Keyboard

const shortcutsOff = () => localStorage.getItem("shortcuts") === "off";

function currentRow() {
  return document.activeElement?.closest?.("[data-study]") ?? null;
}

function move(step) {
  const rows = studies().filter((row) => !row.hidden);
  const index = rows.indexOf(currentRow());
  const row = rows[index < 0 ? (step > 0 ? 0 : rows.length - 1) : index + step];
  const target = row && one("[data-open], .launched, [data-expand]", row);
  if (!target) return;
  target.focus();
  row.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => one("[data-quick]")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  p: () => currentRow() && one("[data-priors]", currentRow())?.click(),
  x: () => currentRow() && toggleSeries(one("[data-expand]", currentRow())),
  s: () => currentRow() && one("[data-pick]", currentRow()).click(),
  "?": () => one("#keyboard")?.showModal(),
};

function onKey(event) {
  if (event.key === "Escape") {
    const menu = document.activeElement.closest("details[data-menu][open]");
    closeMenus();
    if (menu) one("summary", menu).focus();
    return;
  }
  const isTyping = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || shortcutsOff()) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// Events

document.addEventListener("click", (event) => {
  const find = (selector) => event.target.closest(selector);
  closeMenus(event.target);
  let target;
  if ((target = find("[data-copy]"))) copy(target);
  else if ((target = find("[data-dialog]"))) document.getElementById(target.dataset.dialog).showModal();
  else if ((target = find("[data-held]"))) showHeld();
  else if (find("[data-show-more]")) {
    shown += PAGE;
    refresh();
  } else if ((target = find("[data-dismiss]"))) {
    event.preventDefault();
    target.closest(".launch").remove();
  } else if ((target = find("[data-expand]")) && window.htmx) {
    event.preventDefault();
    toggleSeries(target);
  }
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-theme-switch]")) return;
  event.preventDefault();
  switchTheme(event.target);
});

document.addEventListener("change", (event) => {
  const target = event.target;
  if (target.closest("[data-modality-choices]")) updateModalities(target.closest("[data-modality-choices]"));
  else if (target.closest("[data-presets], [data-range]")) choosePeriod(target);
  else if (target.matches("[data-pick]")) refreshSelection();
  else if (target.matches("[data-shortcuts-switch]")) localStorage.setItem("shortcuts", target.checked ? "on" : "off");
});

document.addEventListener("error", (event) => {
  if (event.target.matches?.("[data-picture]")) hidePicture(event.target);
}, true);

document.addEventListener("pointerover", foresee);
document.addEventListener("focusin", foresee);
document.addEventListener("keydown", onKey);
document.addEventListener("focusin", (event) => {
  const menu = one("details[data-menu][open]");
  if (menu && !menu.contains(event.target)) closeMenus(event.target);
});
document.addEventListener("pointerover", (event) => {
  pointed = event.target.closest?.("[data-studies] [data-study]") ?? null;
});

// The button that had the focus is replaced by the launch: the focus goes on to that. It
// is remembered early, because a button loses the focus when it is disabled.
let pressed = null;
let hadFocus = false;
document.addEventListener("htmx:configRequest", (event) => {
  const launch = event.detail.elt.closest(".launch");
  if (launch?.contains(document.activeElement)) pressed = launch;
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const isElsewhere = document.activeElement !== document.body && !pressed?.contains(document.activeElement);
  hadFocus = event.detail.target === pressed && !isElsewhere;
});
document.addEventListener("htmx:load", (event) => {
  const element = event.detail.elt;
  if (results && element.matches("[data-chip]")) takeIncoming(element);
  if (!element.matches(".launch")) return;
  openViewer(element);
  if (hadFocus) element.focus({ preventScroll: true });
  hadFocus = false;
});
for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => {
    const chip = event.detail.elt.closest("[data-chip]");
    if (chip?.dataset.state === "asking") {
      chip.dataset.state = "failed";
      one(".chip", chip).className = "chip chip-failed";
      refresh();
    }
    if (event.detail.elt.getAttribute("hx-trigger")?.startsWith("every")) return;
    notice(results?.dataset.failed ?? "");
  });
}

// Start

all("[data-picture]").filter(isBroken).forEach(hidePicture);
const shortcuts = one("[data-shortcuts-switch]");
if (shortcuts) shortcuts.checked = !shortcutsOff();
if (results) {
  refresh();
  if (!one(".errorlist")) one("#results-title").focus({ preventScroll: true });
}
