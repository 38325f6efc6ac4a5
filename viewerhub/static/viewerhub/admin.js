// Comfort for the admin's own pages; every button works without it.

const PAUSE = 400; // milliseconds after the last key before the preview is asked for

// Defer, so that the button's own name and value are still submitted.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.dataset.busy) return;
  setTimeout(() => {
    button.textContent = button.dataset.busy;
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
  });
});

// Coming back by the browser's history shows the page as it was left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && document.querySelector("[aria-busy=true]")) location.reload();
});

// Browsers let pages copy only over HTTPS: elsewhere the text is selected instead.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    const label = button.firstChild, before = label.textContent;
    label.textContent = button.dataset.copied;
    setTimeout(() => { label.textContent = before; }, 2000);
  } catch {
    getSelection().selectAllChildren(source);
  }
});

// A form that came back begins where something is wrong: after Django's own script, which
// puts the focus on the first field.
addEventListener("load", () => {
  document.querySelector("[aria-invalid=true]")?.focus();
});

document.addEventListener("DOMContentLoaded", () => {
  const button = document.querySelector("[data-preview]");
  if (!button) return;
  const target = document.getElementById(button.dataset.preview);
  let timer, latest = 0;

  const refresh = async () => {
    const turn = ++latest;
    const response = await fetch(button.formAction, {
      method: "POST",
      body: new FormData(button.form),
      headers: { "X-Requested-With": "fetch" },
    });
    if (!response.ok || turn !== latest) return;
    const wasOpen = target.querySelector("details")?.open;
    target.innerHTML = await response.text();
    const details = target.querySelector("details");
    if (details) details.open = wasOpen;
  };

  button.addEventListener("click", (event) => {
    event.preventDefault();
    refresh();
  });
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, PAUSE);
  };
  button.form.addEventListener("input", later);
  button.form.addEventListener("change", later);
});
