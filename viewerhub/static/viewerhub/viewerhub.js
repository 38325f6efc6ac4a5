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

// Results: every answer brings the page's rows as the server has merged them. Nothing moves
// down to the last row that is in use: what belongs above it waits until it is asked for.

const results = one("[data-results]");
const table = results && one("[data-studies]", results);
const storedPicks = results && `picked ${results.dataset.search}`;
let waiting = null;
let pointed = null;

const studies = () => (table ? all("[data-study]", table) : []);
const inUse = (row) => row === pointed || row.contains(document.activeElement)
  || one("[data-pick]:checked, [data-launch], .details:not([hidden])", row);
const look = (rows) => rows.map((row) => row.id + row.dataset.archives).join();

function receive(incoming) {
  incoming.remove();
  if (Number(incoming.dataset.version) < Number(results.dataset.version)) return;
  results.dataset.version = incoming.dataset.version;
  const stay = studies().slice(0, studies().findLastIndex(inUse) + 1);
  const last = stay.at(-1);
  const before = last?.getBoundingClientRect().top;
  for (const part of all("[data-part]", incoming)) {
    const known = one(`[data-part=${part.dataset.part}]:not([data-incoming] *)`, results);
    if (known.innerHTML !== part.innerHTML) known.replaceChildren(...part.childNodes);
  }
  const rows = all("[data-study]", incoming);
  const position = rows.findIndex((row) => row.id === last?.id);
  const below = rows.slice(position + 1).filter((row) => !stay.some((other) => other.id === row.id));
  if (!last || position >= 0) arrange([...stay, ...below]);
  waiting = last && (position < 0 || look(rows.slice(0, position)) !== look(stay.slice(0, -1))) ? rows : null;
  if (position >= 0) complete(last, rows[position]);
  refresh();
  if (last) scrollBy(0, last.getBoundingClientRect().top - before);
}

// What another archive adds to a row that stays.
function complete(known, row) {
  one(".when", known).replaceWith(one(".when", row));
  const conflict = one(".conflict", row);
  if (conflict && !one(".conflict", known)) known.firstElementChild.after(conflict);
  known.dataset.archives = row.dataset.archives;
}

// These rows and no others; where one is in use already, that one, unmoved if it may.
function arrange(rows) {
  const used = new Map(studies().filter(inUse).map((row) => [row.id, row]));
  let place = studies()[0];
  for (const fresh of rows) {
    const row = used.get(fresh.id) ?? fresh;
    if (row === place) place = place.nextElementSibling;
    else table.insertBefore(row, place ?? null);
  }
  while (place) {
    const gone = place;
    place = place.nextElementSibling;
    gone.remove();
  }
}

function showWaiting() {
  const anchor = studies().findLast(inUse);
  const before = anchor?.getBoundingClientRect().top;
  arrange(waiting);
  waiting = null;
  refresh();
  one("#results-title").focus({ preventScroll: true });
  if (anchor?.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - before);
}

function refresh() {
  const texts = results.dataset;
  table.hidden = !studies().length;
  const button = one("[data-held]", results);
  button.hidden = !waiting;
  const more = waiting?.filter((row) => !one(`#${row.id}`, table)).length;
  button.textContent = more ? plural(texts.heldOne, texts.heldMany, more) : texts.heldNone;
  refreshSelection();
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Selected studies of this search by key, with whose they are: of all its pages.
const picks = new Map(results ? JSON.parse(sessionStorage.getItem(storedPicks) ?? "[]") : []);

function pick(box) {
  if (box.checked) picks.set(box.value, box.closest("[data-study]").dataset.patient);
  else picks.delete(box.value);
  sessionStorage.setItem(storedPicks, JSON.stringify([...picks]));
  refreshSelection();
}

function refreshSelection() {
  const elsewhere = new Map(picks);
  for (const box of all("[data-pick]", table)) {
    box.checked = picks.has(box.value);
    elsewhere.delete(box.value);
  }
  one("[data-elsewhere]", results).replaceChildren(...[...elsewhere.keys()].map((key) => {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name: "study", value: key });
    return field;
  }));
  const patients = new Set(picks.values()).size;
  one("[data-selection]", results).classList.toggle("has-selected", picks.size > 0);
  setText(one("[data-selected-count]", results), count(results.dataset.selected, picks.size));
  const warning = one("[data-patients-warning]", results);
  warning.hidden = patients < 2;
  setText(one("span", warning), count(results.dataset.patients, patients));
}

function takeIncoming(chip) {
  const incoming = one("[data-incoming]", chip);
  if (!incoming) return;
  receive(incoming);
  if (!one("[data-state=asking]", results)) setText(one("[data-told]"), incoming.dataset.announcement);
}

// The only study, once no archive is being asked: the next Enter opens it. One that is
// down must not take this way from everybody; its chip says what may be missing.
function focusOnly() {
  const rows = studies();
  const isOnly = rows.length === 1 && !one("[data-chip][data-state=asking]", results);
  if (isOnly && document.activeElement === one("#results-title")) one("[data-open]", rows[0])?.focus();
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

// Keyboard: a row has the focus itself, so that Enter and the space bar mean the study

const shortcutsOff = () => localStorage.getItem("shortcuts") === "off";
const focused = () => document.activeElement;
const currentRow = () => focused().closest("[data-study]");
const isRow = () => focused().matches("[data-study] > tr");

function move(step) {
  const rows = studies();
  const index = rows.indexOf(currentRow());
  const row = rows[index < 0 ? (step > 0 ? 0 : rows.length - 1) : index + step]?.rows[0];
  if (!row) return false;
  row.tabIndex = -1;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

// Arrows scroll the page unless they go on from a row or from the head of the results.
const moveFrom = (step) => (currentRow() || focused().id === "results-title") && move(step);
const press = (selector) => one(selector, currentRow())?.click();

// What each key does; false if it does nothing of ours.
const KEYS = {
  "/": () => one("[data-quick]")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => moveFrom(1),
  ArrowUp: () => moveFrom(-1),
  Enter: () => isRow() && press("[data-open]"),
  " ": () => isRow() && press("[data-pick]"),
  p: () => currentRow() && press("[data-priors]"),
  x: () => currentRow() && press("[data-expand]"),
  "?": () => one("#keyboard")?.showModal(),
};

function onKey(event) {
  if (event.key === "Escape") {
    const menu = focused().closest("details[data-menu][open]");
    closeMenus();
    if (menu) one("summary", menu).focus();
    return;
  }
  const isTyping = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || shortcutsOff()) return;
  if (KEYS[event.key] && KEYS[event.key]() !== false) event.preventDefault();
}

// Events

document.addEventListener("click", (event) => {
  const find = (selector) => event.target.closest(selector);
  closeMenus(event.target);
  let target;
  if ((target = find("[data-copy]"))) copy(target);
  else if ((target = find("[data-dialog]"))) document.getElementById(target.dataset.dialog).showModal();
  else if (find("[data-held]")) showWaiting();
  else if ((target = find("[data-dismiss]"))) {
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
  else if (target.matches("[data-pick]")) pick(target);
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

// The button that had the focus is replaced by the launch, and an archive asked again by
// its answer: the focus goes on to what replaces them. A button is remembered early,
// because it loses the focus when it is disabled.
let pressed = null;
let replaced = null;
let hadFocus = false;
document.addEventListener("htmx:configRequest", (event) => {
  const from = event.detail.elt.closest(".launch, .selected");
  if (from?.contains(focused())) [pressed, replaced] = [from, event.detail.target];
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const isElsewhere = focused() !== document.body && !pressed?.contains(focused());
  hadFocus = event.detail.target === replaced ? !isElsewhere
    : [event.detail.target, event.detail.requestConfig.elt].some((element) => element.contains(focused()));
});
document.addEventListener("htmx:load", (event) => {
  const element = event.detail.elt;
  if (results && element.matches("[data-chip]")) {
    takeIncoming(element);
    focusOnly();
    if (hadFocus) one("summary, a", element)?.focus();
    hadFocus = false;
  }
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
  const chips = one(".chips", results);
  chips.style.minHeight = `${chips.offsetHeight}px`;
  refresh();
  if (!one(".errorlist")) one("#results-title").focus({ preventScroll: true });
  focusOnly();
}
